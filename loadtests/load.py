"""`make load`: the front end's mix by locust, as users who wait (closed loop) and as arrivals by the clock (open loop).

python -m loadtests.load [--url URL] [--users 8] [--rate 16] [--seconds 60] [--write]
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.bench import plots
from app.bench.figures import figures
from app.bench.options import positive
from app.bench.sample import Sample, read_samples
from app.bench.summary import summary
from app.bench.voided import MOST_LAG_SECONDS, void_reason
from app.slos import load_slos
from loadtests import load_report, target
from loadtests.processes import ProcessFailed, running

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_VOID = 4
ROOT = Path(__file__).parent.parent
_GRACE_SECONDS = 180.0
"""For locust to start, and for the last answers: of arrivals that leave late, too."""


def main(arguments: Sequence[str]) -> int:
    """Load, print and write; returns the exit code (1: requests failed, 2: refused, 4: the client voids the run)."""
    options = _parser().parse_args(arguments)
    try:
        load_report.prepare(options.out)
        with target.target(options.url, options.anywhere) as there:
            host = there.base.removesuffix("/v1")
            closed = run_locust(host, "Customers", options.users, options.seconds, options.seed)
            opened = run_locust(host, "Arrivals", options.rate, options.seconds, options.seed)
    except (target.Refused, ProcessFailed, OSError, msgspec.DecodeError) as error:
        print(f"loadtests.load: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("loadtests.load: stopped, and nothing was reported", file=sys.stderr)
        return EXIT_FAILED
    slos = load_slos()
    runs = {
        f"Closed loop: {options.users:g} users who wait for their answers": closed,
        f"Open loop: {options.rate:g} arrivals a second (Poisson)": opened,
    }
    voids = [
        f"the {name} loop is {void}"
        for name, samples in (("closed", closed), ("open", opened))
        if (void := void_reason(samples, options.most_lag))
    ]
    parts = [f"**{void[0].upper()}{void[1:]}.**" for void in voids]
    for heading, samples in runs.items():
        found = figures(samples, slos, options.seconds)
        parts += [f"## {heading}", load_report.kinds_table(samples), summary(found)]
    text = "\n\n".join(parts)
    print(text)
    title = "The front end's mix, closed and open loop"
    pictures = {"latency": plots.latency_picture(title, {"closed loop": closed, "open loop": opened}, slos)}
    command = shlex.join(["python", "-m", "loadtests.load", *arguments])
    print("wrote", *load_report.write(options.out, "load", title, command, text, pictures), file=sys.stderr)
    for void in voids:
        print(f"loadtests.load: {void}", file=sys.stderr)
    if voids:
        return EXIT_VOID
    return int(any(sample.outcome == "error" for samples in runs.values() for sample in samples))


def run_locust(host: str, users: str, load: float, seconds: float, seed: int | None = None) -> list[Sample]:
    """The samples of one run of the locustfile, in a process of its own, which gevent patches.

    Raises:
        ProcessFailed: it did not end well, or sent nothing.
    """
    with TemporaryDirectory(prefix="repartee-load-") as directory:
        path = Path(directory) / "samples.jsonl"
        command = [
            *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), users),
            *("--headless", "--only-summary", "--host", host, "--samples", str(path)),
            *("--steps", f"{load:g}", "--step-seconds", f"{seconds:g}", "--exit-code-on-error", "0"),
            *("--most-lag", "60"),  # the caller judges
            *(["--seed", str(seed)] if seed is not None else []),
        ]
        print(f"{users}, {load:g} for {seconds:g} s", file=sys.stderr, flush=True)
        with running(command, {"PYTHONPATH": str(ROOT)}) as locust:
            locust.wait(seconds + _GRACE_SECONDS)
            samples = read_samples(path)
            if not samples:
                raise ProcessFailed(f"locust sent nothing.\n{locust.tail()}")
        return samples


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.load", description=__doc__.partition("\n")[0])
    target.add_options(parser)
    add = parser.add_argument
    add("--users", type=positive(int, 1000), default=8, help="of the closed loop; default: 8")
    add("--rate", type=positive(float, 1e4), default=16.0, help="of the open loop, requests/s; default: 16")
    add("--seconds", type=positive(float, 3600), default=60.0, help="of each loop; default: 60")
    add(
        "--most-lag", type=positive(float, 60), default=MOST_LAG_SECONDS, help="p99 that voids; %(default)s s"
    )
    add("--seed", type=int)
    load_report.add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
