"""Whether the shipped alerts leave a healthy service alone: a front end's load, a real Prometheus, the shipped rules.

python -m loadtests.healthy_run [--minutes 30] [--rate 4] [--write]

The service is started with the embedded model and ended; the mix of front_end.py arrives as a Poisson process.
"""

import argparse
import asyncio
import datetime
import itertools
import random
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import uvloop

from app.bench.figures import figures, span
from app.bench.http_stream import RequestFailed
from app.bench.loops import TooManyInFlight, open_loop, poisson
from app.bench.markdown import number, table
from app.bench.options import positive
from app.bench.sample import Sample
from app.bench.summary import summary
from app.bench.voided import void_reason
from app.slos import load_slos
from deploy.prometheus.alert import PREFIX
from deploy.prometheus.burn_rates import BURNS
from deploy.prometheus.generate import RULES, rule_groups
from loadtests import dated_page, target
from loadtests.front_end import FrontEnd
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.prometheus_server import PrometheusServer, ToolMissing, running_prometheus, scrape

EXIT_ALERTED = 1
EXIT_REFUSED = 2
EXIT_VOID = 4
WATCHDOG = f"{PREFIX}Watchdog"
INTERVAL = "5s"
"""Between scrapes, as shipped, and between evaluations, of which three are shipped as one."""
_SETTLE_SECONDS = 11.0
"""Two intervals, for the last requests to be seen and judged."""
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Watched:
    """What Prometheus saw of the run.

    Attributes:
        fired: alerts that fired at any time.
        pended: those that began to, but did not last.
        worst: by objective and task the greatest share of bad requests of any five minutes.
    """

    fired: frozenset[str]
    pended: frozenset[str]
    worst: Mapping[tuple[str, str], float]

    @property
    def false_alarms(self) -> frozenset[str]:
        """What fired and should not have."""
        return self.fired - {WATCHDOG}


def main(arguments: Sequence[str]) -> int:
    """Run, print, write; returns the exit code (1: an alert fired, 2: refused, 4: the client was too slow)."""
    options = _parser().parse_args(arguments)
    before = machine()
    samples: list[Sample] = []
    try:
        with target.target(None) as there:
            watched = _watch(there, options, samples)
        report = render(watched, samples, before, _command(arguments), options.minutes)
        dated_page.publish("healthy", report, write=options.write)
    except (ProcessFailed, RequestFailed, TooManyInFlight, ToolMissing, OSError) as error:
        print(f"loadtests.healthy_run: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("loadtests.healthy_run: stopped, and nothing was reported", file=sys.stderr)
        return EXIT_REFUSED
    if WATCHDOG not in watched.fired:
        print(f"loadtests.healthy_run: {WATCHDOG} did not fire, so no rule was evaluated", file=sys.stderr)
        return EXIT_REFUSED
    if watched.false_alarms:
        return EXIT_ALERTED
    return EXIT_VOID if void_reason(samples) else 0


def _watch(there: target.Target, options: argparse.Namespace, samples: list[Sample]) -> Watched:
    rules = {file.name: file.read_text() for file in RULES.glob("*.yml")}
    config = scrape(there.base.removeprefix("http://").removesuffix("/v1"), INTERVAL) | {
        "rule_files": sorted(rules)
    }
    with running_prometheus(config, files=rules) as prometheus:
        prometheus.wait_for("repartee_ready == 1", _START_SECONDS)
        began = time.monotonic()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_load(there, options, samples))
        time.sleep(_SETTLE_SECONDS)
        return watched_over(prometheus, time.monotonic() - began)


async def _load(there: target.Target, options: argparse.Namespace, samples: list[Sample]) -> None:
    """Send the mix for so long.

    Raises:
        TooManyInFlight: the rate is more than the machine serves.
    """
    server = there.connect()
    chooser = random.Random(options.seed)
    front_end = FrontEnd(there.model, chooser)
    due = itertools.takewhile(lambda at: at < 60 * options.minutes, poisson(options.rate, chooser))
    try:
        await open_loop(server, front_end.next_ask, ((at, options.rate) for at in due), samples)
    finally:
        server.connections.close()


def watched_over(prometheus: PrometheusServer, seconds: float) -> Watched:
    """What a Prometheus with the rules saw in the last so many seconds."""
    past = f"[{int(seconds) + 1}s]"

    def alerts(state: str) -> frozenset[str]:
        found = prometheus.query(f'count_over_time(ALERTS{{alertstate="{state}"}}{past})')
        return frozenset(sample.labels["alertname"] for sample in found)

    ratios = prometheus.query(f"max by (slo, task) (max_over_time(repartee:slo_error_ratio:rate5m{past}))")
    worst = {(ratio.labels["slo"], ratio.labels["task"]): ratio.value for ratio in ratios}
    return Watched(alerts("firing"), alerts("pending") - alerts("firing"), worst)


def render(
    watched: Watched, samples: Sequence[Sample], facts: Mapping[str, str], command: str, minutes: float
) -> str:
    """The dated page."""
    slos = load_slos()
    quiet = "**No alert fired but the Watchdog.**"
    alarmed = f"**Fired without need: {', '.join(sorted(watched.false_alarms))}.**"
    paging = BURNS[0]
    rows = [
        [slo.name, task, f"{number(100 * worst)} %", f"{number(100 * paging.rate * (1 - slo.objective))} %"]
        for slo in slos
        for task in slo.tasks
        if (worst := watched.worst.get((slo.name, task))) is not None
    ]
    lines = [
        f"# Alerts while all is well, {datetime.date.today().isoformat()}\n",
        *[f"- {name}: {value}" for name, value in facts.items()],
        f"\nReproduce: `{command}`\n",
        alarmed if watched.false_alarms else quiet,
        f"Began to, but did not last: {', '.join(sorted(watched.pended)) or 'none'}.",
        f"Cannot fire in {minutes:g} min, for what they watch must last longer: "
        f"{', '.join(too_slow(minutes)) or 'none'}.\n",
        table(
            ["objective", "task", "bad in the worst 5 minutes", f"a page over {paging.long} is above"], rows
        ),
        "\nA scrape reads what was good before it reads what was counted, so requests that end between the two look "
        "bad in it.\n",
        summary(figures(samples, slos, span(samples))),
    ]
    if void := void_reason(samples):
        lines.append(f"\nThe load is {void}.")
    return "\n".join(lines)


def too_slow(minutes: float) -> list[str]:
    """Alerts whose expression must hold for longer than the run."""
    alerts = (rule for group in rule_groups(load_slos()) for rule in group["rules"] if "for" in rule)
    return sorted(rule["alert"] for rule in alerts if _minutes(rule["for"]) > minutes)


def _minutes(duration: str) -> float:
    (count, unit) = re.fullmatch(r"(\d+)([smh])", duration).groups()  # type: ignore[union-attr]
    return float(count) * {"s": 1 / 60, "m": 1, "h": 60}[unit]


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "loadtests.healthy_run", *arguments])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.healthy_run", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--minutes", type=positive(float, 1440), default=30.0, help="default: 30")
    add("--rate", type=positive(float, 1000), default=4.0, help="requests a second; default: 4")
    add("--seed", type=int, help="of arrivals and questions")
    dated_page.add_option(parser, "healthy")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
