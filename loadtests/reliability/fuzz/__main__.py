"""Try bad inputs on a real service and say what was wrong.

python -m loadtests.reliability.fuzz [--inputs 10000] [--seed N] [--write] [--failures DIR] [--replay FILE]

Four sources: Schemathesis over the service's own OpenAPI document, a grammar of JSON, raw HTTP bytes, and clients that
leave. Exit code 1: something was wrong; the bytes of each such input are in a file, which --replay sends again.
"""

import argparse
import asyncio
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from app.bench.options import positive
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece
from loadtests.reliability.fuzz.campaign import Result, campaign
from loadtests.reliability.fuzz.neighbours import WrongAnswer
from loadtests.reliability.fuzz.report import known_keys, render, save
from loadtests.reliability.fuzz.service import Service, fuzzed_service
from loadtests.reliability.fuzz.verdict import judge
from loadtests.reliability.fuzz.wire import exchange

EXIT_FOUND = 1
EXIT_REFUSED = 2
_FAILURES = Path("runs") / "fuzz"


def main(arguments: Sequence[str]) -> int:
    """Run, print, write; returns the exit code (1: something was wrong, 2: the service did not start)."""
    options = _parser().parse_args(arguments)
    before = machine()
    try:
        with fuzzed_service() as service:
            if options.replay:
                return _replay(service, options.replay)
            seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
            print(f"seed {seed}", flush=True)
            result = run(service, seed, options.inputs)
            saved, tail = save(result, service.site, options.failures), service.running.tail()
    except (ProcessFailed, WrongAnswer, OSError) as error:
        print(f"loadtests.reliability.fuzz: {error}", file=sys.stderr)
        return EXIT_REFUSED
    report = render(result, before, _command(options.inputs, seed), saved)
    if result.failed:
        print(f"The end of the service's log:\n{tail}", file=sys.stderr)
    dated_page.publish("fuzz", report, write=options.write)
    return EXIT_FOUND if result.failed else 0


def run(service: Service, seed: int, inputs: int) -> Result:
    """The campaign, and whether the same processes live after it."""
    processes = service.processes
    result = asyncio.run(campaign(service.site, seed, inputs))
    if service.processes != processes:
        result.faults.append("a process died")
    return result


def _replay(service: Service, path: Path) -> int:
    """Send the bytes of a file once, and show what comes back."""
    data = known_keys(path.read_bytes(), service.site)
    attempt = Attempt("replay", 0, str(path), (Piece(data),), Expected.ANY, patience=5.0)
    heard = asyncio.run(exchange(service.site.host, service.site.port, attempt))
    _, faults = judge(attempt, heard)
    sys.stdout.buffer.write(heard.data + f"\n{heard.end.value}; {faults or 'nothing wrong'}\n".encode())
    return EXIT_FOUND if faults else 0


def _command(inputs: int, seed: int) -> str:
    return shlex.join(
        ["python", "-m", "loadtests.reliability.fuzz", "--inputs", str(inputs), "--seed", str(seed)]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--inputs", type=positive(int, 10_000_000), default=10_000, help="default: 10000")
    add("--seed", type=int, help="of all inputs; default: drawn, and printed")
    add(
        "--failures",
        type=Path,
        default=_FAILURES,
        help=f"where inputs that fail are kept; default: {_FAILURES}",
    )
    add("--replay", type=Path, help="send the bytes of this file once instead")
    dated_page.add_option(parser, "fuzz")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
