"""Whether an independent client, ours and the service agree: on the count exactly, on TTFT p50 within one bucket.

python -m loadtests.crosscheck --guidellm PATH [--url URL] [--rate 8] [--requests 80] [--write]

guidellm is not installed by this project: `python3.11 -m venv DIR && DIR/bin/pip install guidellm==0.8.1`.
"""

import argparse
import asyncio
import bisect
import itertools
import json
import os
import random
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from app.bench.ask import CHAT_PATH, Ask
from app.bench.figures import percentile
from app.bench.http_stream import RequestFailed, post
from app.bench.loops import TooManyInFlight, constant, open_loop
from app.bench.markdown import aligned, number
from app.bench.options import positive
from app.bench.questions import question
from app.bench.sample import Sample
from loadtests import load_report, target
from loadtests.processes import ProcessFailed, running

EXIT_DISAGREE = 1
EXIT_REFUSED = 2
_GRACE_SECONDS = 240.0
_TOKENS = 64
_TTFT = "repartee_time_to_first_token_seconds_bucket"
_REQUESTS = "repartee_requests_total"


@dataclass(frozen=True)
class Counted:
    """What the service says of its streams: cumulative counts by bucket bound in seconds, and answered chats."""

    buckets: dict[float, float]
    requests: float

    def since(self, earlier: "Counted") -> "Counted":
        """What came after `earlier`."""
        buckets = {bound: count - earlier.buckets[bound] for bound, count in self.buckets.items()}
        return Counted(buckets, self.requests - earlier.requests)

    @property
    def bounds(self) -> list[float]:
        """Upper bounds, growing, the last one infinite."""
        return sorted(self.buckets)

    def median_bucket(self) -> int:
        """The place of the bucket that holds the median."""
        total = self.buckets[self.bounds[-1]]
        return next(place for place, bound in enumerate(self.bounds) if self.buckets[bound] >= total / 2)

    def bucket(self, seconds: float) -> int:
        """The place of the bucket that a value falls into."""
        return bisect.bisect_left(self.bounds, seconds)


@dataclass(frozen=True)
class Client:
    """What one client saw, and what the service counted meanwhile; seconds."""

    name: str
    requests: int
    ttft: float
    service: Counted

    @property
    def faults(self) -> list[str]:
        """Where client and service disagree, one line each."""
        found = []
        if self.requests != self.service.requests:
            found.append(
                f"{self.name} counts {self.requests} requests, the service {self.service.requests:g}"
            )
        apart = abs(self.service.bucket(self.ttft) - self.service.median_bucket())
        if apart > 1:
            found.append(f"TTFT p50 of {self.name} is {apart} buckets away from the service's")
        return found

    def row(self) -> list[str]:
        """Of the report's table."""
        bounds, place = self.service.bounds, self.service.median_bucket()
        low = bounds[place - 1] if place else 0.0
        within = f"{number(low * 1e3)} to {number(bounds[place] * 1e3)}"
        counts = [str(self.requests), f"{self.service.requests:g}"]
        return [self.name, *counts, number(self.ttft * 1e3), within, "no" if self.faults else "yes"]


def read_metrics(text: str) -> Counted:
    """The counts of streamed answers in an exposition.

    Raises:
        RequestFailed: it has none, as that of another server.
    """
    buckets: dict[float, float] = {}
    requests = 0.0
    for line in text.splitlines():
        head, _, value = line.partition(" # ")[0].rpartition(" ")
        if (
            head.startswith(_TTFT + "{")
            and 'stream="true"' in head
            and (le := re.search(r'le="([^"]+)"', head))
        ):
            bound = float(le[1])
            buckets[bound] = buckets.get(bound, 0.0) + float(value)
        elif head.startswith(_REQUESTS + "{") and 'task="chat"' in head and 'outcome="ok"' in head:
            requests += float(value)
    if not buckets:
        raise RequestFailed(f"/metrics has no {_TTFT}")
    return Counted(buckets, requests)


def read_guidellm(report: bytes) -> tuple[int, float]:
    """Requests that were answered, and the median TTFT in seconds.

    Raises:
        RequestFailed: not the report of a guidellm that is known here.
    """
    try:
        metrics = json.loads(report)["benchmarks"][0]["metrics"]
        count = metrics["request_totals"]["successful"]
        return int(count), metrics["time_to_first_token_ms"]["successful"]["percentiles"]["p50"] / 1e3
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RequestFailed(f"guidellm's report is not as expected: {error!r}") from error


def main(arguments: Sequence[str]) -> int:
    """Compare, print and write; returns the exit code (1: they disagree, 2: refused)."""
    options = _parser().parse_args(arguments)
    program = shutil.which(options.guidellm)
    if program is None:
        print(
            f"loadtests.crosscheck: there is no guidellm at {options.guidellm}; see --help", file=sys.stderr
        )
        return EXIT_REFUSED
    try:
        load_report.prepare(options.out)
        with target.target(options.url, options.anywhere) as there:
            clients = compare(program, there, options.rate, options.requests)
    except (target.Refused, ProcessFailed, RequestFailed, TooManyInFlight, OSError) as error:
        print(f"loadtests.crosscheck: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("loadtests.crosscheck: stopped, and nothing was compared", file=sys.stderr)
        return EXIT_DISAGREE
    faults = [fault for client in clients for fault in client.faults]
    apart = abs(clients[0].service.bucket(clients[0].ttft) - clients[0].service.bucket(clients[1].ttft))
    if apart > 1:
        faults.append(f"the clients' TTFT p50 are {apart} buckets apart")
    head = ["client", "requests", "the service counts", "TTFT p50 ms", "the service's bucket, ms", "agrees"]
    verdict = "**They agree.**" if not faults else "**They do not agree:** " + "; ".join(faults) + "."
    text = (
        f"{options.requests} chats each at a constant {options.rate:g} a second, one client after the other. "
        "Medians agree within one bucket.\n\n"
        f"{aligned(head, [client.row() for client in clients])}\n\n{verdict}"
    )
    print(text)
    given = [*itertools.filterfalse(lambda word: word == options.guidellm, arguments)]
    command = shlex.join(["python", "-m", "loadtests.crosscheck", *given]).replace(
        "--guidellm", "--guidellm PATH"
    )
    title = "Three views of one load: guidellm, our client, the service"
    print("wrote", *load_report.write(options.out, "crosscheck", title, command, text, {}), file=sys.stderr)
    return EXIT_DISAGREE if faults else 0


def compare(guidellm: str, there: target.Target, rate: float, requests: int) -> list[Client]:
    """Both clients, one after the other, with what the service counted of each.

    Raises:
        ProcessFailed, RequestFailed, TooManyInFlight, OSError: one of them did not get through.
    """
    prompts = [question(random.Random(seed)) for seed in range(requests)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_ours(there, prompts[:5], rate))  # a service that has just started is slower
        before = _metrics(runner, there)
        samples = runner.run(_ours(there, prompts, rate))
        between = _metrics(runner, there)
        count, ttft = _guidellm(guidellm, there, prompts, rate)
        after = _metrics(runner, there)
    firsts = [sample.first for sample in samples if sample.first is not None]
    answered = sum(sample.outcome == "ok" for sample in samples)
    ours = Client("ours", answered, percentile(firsts, 0.5), between.since(before))
    return [ours, Client("guidellm", count, ttft, after.since(between))]


def _metrics(runner: asyncio.Runner, there: target.Target) -> Counted:
    async def read() -> bytes:
        connections = there.connect().connections
        await asyncio.sleep(0.2)  # the service books a request after its last byte
        try:
            return await post(there.base.removesuffix("/v1") + "/metrics", None, connections)
        finally:
            connections.close()

    return read_metrics(runner.run(read()).decode())


async def _ours(there: target.Target, prompts: Sequence[str], rate: float) -> list[Sample]:
    server = there.connect()
    samples: list[Sample] = []
    left = iter(prompts)

    def ask() -> Ask:
        messages = [{"role": "user", "content": next(left)}]
        body = {"model": there.model, "messages": messages, "max_tokens": _TOKENS}
        return Ask("chat", "chat", CHAT_PATH, body)

    arrivals = ((at, rate) for at in itertools.islice(constant(rate), len(prompts)))
    await open_loop(server, ask, arrivals, samples)
    server.connections.close()
    return samples


def _guidellm(program: str, there: target.Target, prompts: Sequence[str], rate: float) -> tuple[int, float]:
    with TemporaryDirectory(prefix="repartee-crosscheck-") as directory:
        data, report = Path(directory) / "prompts.jsonl", Path(directory) / "report.json"
        data.write_bytes(b"".join(msgspec.json.encode({"prompt": prompt}) + b"\n" for prompt in prompts))
        backend = {
            "kind": "openai_http",
            "target": there.base.removesuffix("/v1"),
            "model": there.model,
            "request_format": "/v1/chat/completions",
            "extras": {"body": {"max_tokens": _TOKENS}},
        }
        command = [
            *(program, "run", "--backend", json.dumps(backend), "--profile", f"kind=constant,rate={rate:g}"),
            *("--constraint", f"kind=max_requests,count={len(prompts)}"),
            *("--data", f"kind=json_file,path={data}", "--output", f"kind=json,path={report}"),
            "--disable-progress",
        ]
        with running(command, {"HF_HUB_OFFLINE": "1"}) as process:
            process.wait(len(prompts) / rate + _GRACE_SECONDS)
            if not report.exists():
                raise ProcessFailed(f"guidellm wrote no report.\n{process.tail()}")
        return read_guidellm(report.read_bytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.crosscheck", description=__doc__.partition("\n")[0]
    )
    target.add_options(parser)
    add = parser.add_argument
    add("--guidellm", default=os.environ.get("GUIDELLM", "guidellm"), metavar="PATH",
        help="its executable; default: GUIDELLM, or the one on PATH")  # fmt: skip
    add("--rate", type=positive(float, 1000), default=8.0, help="requests/s; default: 8")
    add("--requests", type=positive(int, 10_000), default=80, help="of each client; default: 80")
    load_report.add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
