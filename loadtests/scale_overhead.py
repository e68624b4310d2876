"""What the way through Ray Serve and HAProxy adds, measured in turns beside the same service asked directly.

python -m loadtests.scale_overhead [--rounds 12] [--requests 40] [--streams 2] [--tokens 150] [--write]
"""

import argparse
import asyncio
import datetime
import json
import shlex
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.bench.http_stream import RequestFailed, post
from loadtests.cases import Endpoint
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.ray_cluster import private_environment
from loadtests.ready_service import ready_service
from loadtests.report import number, table

BOUND_MS = 2.0
"""What a small request may take longer, in the middle."""
BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"
_NOTE = """\
The embedded model, one thread a replica, a new connection a request. Of {rounds} rounds each has {requests} requests
of each small kind and then {streams} streams at once of {tokens} tokens, at the service alone and at the one behind Ray
Serve and HAProxy in turn. Both run all the time, so Ray's idle processes are in both columns.
"""
_MODEL = "repartee-support"
_START_SECONDS = 90.0
_WARM_UP = 10
_LONGEST_SECONDS = 400.0
"""After which one arrangement is given up."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: in each of the rounds so many requests of each kind, and so many streams at once."""

    rounds: int
    requests: int
    streams: int
    tokens: int


@dataclass
class Samples:
    """Milliseconds, one way: of requests that only the API process answers, of decisions, of streams."""

    tokenize: list[float] = field(default_factory=list)
    decision: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    between_tokens: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Quantiles by name."""
        return {
            "tokenize p50": _quantile(self.tokenize, 50),
            "tokenize p99": _quantile(self.tokenize, 99),
            "decision p50": _quantile(self.decision, 50),
            "decision p99": _quantile(self.decision, 99),
            "first token p50": _quantile(self.first_token, 50),
            "between tokens p50": _quantile(self.between_tokens, 50),
            "between tokens p99": _quantile(self.between_tokens, 99),
        }


@dataclass(frozen=True)
class Comparison:
    """One number of replicas behind Ray, and the direct way that was measured in turns with it."""

    replicas: int
    direct: Samples
    behind: Samples

    @property
    def added(self) -> float:
        """Milliseconds that the middle of the small requests takes longer, of the kind for which that is more."""
        direct, behind = self.direct.figures(), self.behind.figures()
        return max(behind[name] - direct[name] for name in ("tokenize p50", "decision p50"))


async def compare(replicas: int, direct: str, behind: str, plan: Plan) -> Comparison:
    """Measure both addresses in turns, each first in every other round.

    Raises:
        RequestFailed: a request was not answered with 200.
        TimeoutError: it takes too long.
    """
    found = Comparison(replicas, Samples(), Samples())
    ways = [(direct, found.direct), (behind, found.behind)]
    async with asyncio.timeout(_LONGEST_SECONDS):
        for base, _ in ways:
            await _measure(base, Samples(), Plan(1, _WARM_UP, plan.streams, plan.tokens))
        for turn in range(plan.rounds):
            for base, samples in ways if turn % 2 else reversed(ways):
                await _measure(base, samples, plan)
    return found


async def _measure(base: str, samples: Samples, plan: Plan) -> None:
    endpoint = Endpoint(base, _MODEL, chat=True, extra={"ignore_eos": True})
    for _ in range(plan.requests):
        samples.tokenize.append(await _timed(f"{base}/tokenize", _TEXT))
        samples.decision.append(await _timed(f"{base}/v1/decisions", _DECISION))
    streams = await asyncio.gather(*[endpoint.generate(0, plan.tokens) for _ in range(plan.streams)])
    for timeline in streams:
        samples.first_token.append(timeline.ttft * 1e3)
        samples.between_tokens += [gap * 1e3 for gap in timeline.gaps]


_TEXT = msgspec.json.encode({"model": _MODEL, "prompt": "Where is my parcel?"})
_QUESTION = {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"}
_DECISION = msgspec.json.encode({"model": _MODEL, "input": "Where is it?!", "questions": [_QUESTION]})


async def _timed(url: str, body: bytes) -> float:
    started = time.perf_counter()
    await post(url, body)
    return (time.perf_counter() - started) * 1e3


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@contextmanager
def direct_service() -> Iterator[str]:
    """`python -m app` with one thread; its address."""
    with ready_service({"THREADS": "1"}) as service:
        yield service.url


@contextmanager
def behind_ray(replicas: int) -> Iterator[str]:
    """`python -m deploy.ray` with replicas of one thread each; its address."""
    command = ["deploy.ray", "--replicas", str(replicas)]
    with (
        TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as folder,
        ready_service({"THREADS": "1"}, command, private_environment(Path(folder))) as service,
    ):
        _wait_for_all(service.url, replicas)
        yield service.url


def _wait_for_all(base: str, replicas: int) -> None:
    """The first replica is asked as soon as it is ready; the others may come later.

    Raises:
        TimeoutError: they do not come.
    """
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        with urllib.request.urlopen(f"{base}/metrics/replicas", timeout=10) as answer:
            if len(json.load(answer)) == replicas:
                return
        time.sleep(0.2)
    raise TimeoutError(f"not all of {replicas} replicas were there in time")


def render(comparisons: Sequence[Comparison], before: dict[str, str], command: str, plan: Plan) -> str:
    """The report as markdown."""
    head, columns = ["ms"], []
    for each in comparisons:
        direct, behind = each.direct.figures(), each.behind.figures()
        head += ["direct", f"Ray, {each.replicas} replica{'s' * (each.replicas > 1)}", "added"]
        columns += [direct, behind, {name: behind[name] - direct[name] for name in direct}]
    rows = [[name, *(number(column[name]) for column in columns)] for name in columns[0]]
    verdicts = [
        [
            f"small request p50, {each.replicas} replica{'s' * (each.replicas > 1)}",
            f"{each.added:+.2f} ms",
            f"at most +{BOUND_MS:g} ms",
            "passed" if each.added <= BOUND_MS else "missed",
        ]
        for each in comparisons
    ]
    return "\n".join(
        [
            f"# What Ray Serve adds, {datetime.date.today().isoformat()}\n",
            *(f"- {name}: {value}" for name, value in before.items()),
            f"\nReproduce: `{command}`\n",
            _NOTE.format(**asdict(plan)),
            table(head, rows),
            "",
            table(["figure", "measured", "bound", "verdict"], verdicts),
            "",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Measure and print; returns 1 where the bound is missed, 2 where something does not start or answer."""
    options = _parser().parse_args(arguments)
    plan = Plan(options.rounds, options.requests, options.streams, options.tokens)
    before = machine()
    comparisons = []
    try:
        with direct_service() as direct:
            for replicas in (1, 2):
                print(f"{replicas} behind Ray", file=sys.stderr, flush=True)
                with behind_ray(replicas) as behind:
                    comparisons.append(asyncio.run(compare(replicas, direct, behind, plan)))
    except (ProcessFailed, RequestFailed, OSError) as error:  # TimeoutError is an OSError
        print(f"not measured: {error or 'it took too long'}", file=sys.stderr)
        return 2
    report = render(
        comparisons, before, shlex.join(["python", "-m", "loadtests.scale_overhead", *arguments]), plan
    )
    print(report)
    if options.write:
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        (BENCHMARKS / f"{datetime.date.today().isoformat()}-scale.md").write_text(report)
    return int(any(each.added > BOUND_MS for each in comparisons))


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m loadtests.scale_overhead", description=summary)
    least_two = _at_least(2)  # a quantile needs two
    parser.add_argument("--rounds", type=least_two, default=12)
    parser.add_argument("--requests", type=least_two, default=40, help="of each small kind in a round")
    parser.add_argument("--streams", type=_at_least(1), default=2, help="at once, in a round")
    parser.add_argument("--tokens", type=_at_least(8), default=150, help="of a stream")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/DATE-scale.md")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
