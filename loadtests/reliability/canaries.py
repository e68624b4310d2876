"""Whether anything that clients write comes out where it should not: logs, metrics, traces, bodies of errors.

    python -m loadtests.reliability.canaries [--requests 500] [--seed 1] [--write]

Real services get requests that end in every way, from a whole answer over refusals to a fault in the engine. Each
carries a canary of its own, in every field and header: half are made-up personal data, half plain words that no pattern
knows. Then all that the services wrote is searched. The first service logs everything it can as JSON and traces every
request; the second logs as text for people at the usual level. Ends by itself within a few minutes, with code 1 where
a canary was found or a request did not end as it should.
"""

import argparse
import hashlib
import json
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from app.bench.markdown import table
from app.services.tokenizer import Tokenizer
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.ready_service import ready_service
from loadtests.reliability.canary_requests import WAYS, Asking, Service, canaries
from loadtests.report import gates_table

POISON = " pizza"
MAX_BODY = 64 * 1024
_SETTLE_SECONDS = 3.0
"""Spans are sent once a second, and the log's thread is a little behind."""
CASES: dict[str, dict[str, str]] = {
    "debug level, JSON, traces": {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"},
    "info level, text, traces": {"LOG_LEVEL": "info", "LOG_FORMAT": "text"},
}


@dataclass
class Run:
    """What one service was asked, and all it wrote.

    Attributes:
        statuses: by way.
        sources: bytes by the place where they were written.
        canaries: kind of each.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    sources: dict[str, list[bytes]] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=dict)

    def found(self) -> dict[str, set[str]]:
        """The canaries that are in each place."""
        return {place: find(self.canaries, written) for place, written in self.sources.items()}

    def surprises(self) -> list[str]:
        """Ways that did not end as they must."""
        return [
            f"{way}: {dict(found)}, not {WAYS[way][0]}"
            for way, found in self.statuses.items()
            if set(found) != {WAYS[way][0]}
        ]


def find(known: Iterable[str], written: Iterable[bytes]) -> set[str]:
    """The canaries that are in what was written, in either case of letters."""
    everything = b"\n".join(written).lower()
    return {canary for canary in known if canary.lower().encode() in everything}


@contextmanager
def collector(kept: list[bytes]) -> Iterator[str]:
    """The URL of a collector that keeps every message as it came: strings are not encoded in it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def write_keys(path: Path) -> dict[str, str]:
    """A file of keys for every scope, for chats alone, and with a quota that nobody can live on; the keys by name."""
    keys = {name: f"rp-{secrets.token_urlsafe(32)}" for name in ("all", "chat", "poor")}
    rights: dict[str, dict[str, object]] = {
        "all": {"scopes": ["chat", "decide", "metrics"]},
        "chat": {"scopes": ["chat"]},
        "poor": {"requests_per_second": 1e-6},
    }
    entries = [
        {
            "id": name,
            "tenant": f"tenant-{name}",
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            **rights[name],
        }
        for name, key in keys.items()
    ]
    path.write_text(json.dumps(entries))
    return keys


def drive(settings: Mapping[str, str], requests: int, seed: int) -> Run:
    """Start a service, send it so many requests with a canary each, end it, and gather what was written.

    Raises:
        ProcessFailed: the service did not start.
    """
    run = Run(sources={"errors": [], "metrics": [], "traces": [], "logs": []})
    (poison,) = Tokenizer.from_directory(EMBEDDED_MODEL).encode(POISON)
    with TemporaryDirectory() as directory, collector(run.sources["traces"]) as endpoint:
        keys = write_keys(Path(directory) / "keys.json")
        values = {
            "THREADS": "1",
            "MAX_BODY_BYTES": str(MAX_BODY),
            "API_KEYS_FILE": f"{directory}/keys.json",
            "TRACES_ENDPOINT": endpoint,
            "DRAIN_DELAY_SECONDS": "0",
            "CORS_ORIGINS": "https://shop.example",
        }
        command = ["loadtests.reliability.other_engine", "loadtests.reliability.poisoned_engine"]
        with ready_service(values | dict(settings), command, {"POISON_TOKEN": str(poison)}) as started:
            server = started.process
            model = Path(EMBEDDED_MODEL).name
            service = Service(started.port, model, keys["all"], keys["chat"], keys["poor"], POISON, MAX_BODY)
            with httpx.Client(base_url=service.url, timeout=60) as client:
                client.post("/v1/chat/completions", headers={"authorization": f"Bearer {keys['poor']}"})
                _ask(run, Asking(client, service), service, requests, seed)
                time.sleep(_SETTLE_SECONDS)
                for accept in ("text/plain", "application/openmetrics-text"):
                    scrape = client.get(
                        "/metrics", headers={"authorization": f"Bearer {keys['all']}", "accept": accept}
                    )
                    run.sources["metrics"].append(scrape.raise_for_status().content)
            server.process.terminate()
            server.wait(60)
            run.sources["logs"].append(server.log.read_bytes())
    return run


def _ask(run: Run, asking: Asking, service: Service, requests: int, seed: int) -> None:
    names = list(WAYS)
    for number, (kind, canary) in enumerate(canaries(seed, requests)):
        run.canaries[canary] = kind
        way = names[number // 2 % len(names)]  # a plain word and something personal each
        status, body = WAYS[way][1](asking, service, canary)
        run.statuses.setdefault(way, Counter())[status] += 1
        if status >= 400:
            run.sources["errors"].append(body)


def gates_of(runs: Mapping[str, Run]) -> list[Gate]:
    """Nothing found, nothing unexpected, and enough written that there was something to find."""
    gates = list[Gate]()
    for name, run in runs.items():
        for place, found in run.found().items():
            gates.append(Gate(f"{name}: canaries in {place}", len(found), 0, at_least=False))
        gates.append(
            Gate(f"{name}: requests that ended unexpectedly", len(run.surprises()), 0, at_least=False)
        )
        for place, written in run.sources.items():
            size = sum(map(len, written))
            gates.append(Gate(f"{name}: bytes of {place} searched", size, 1000, at_least=True))
    return gates


def report(runs: Mapping[str, Run], command: str) -> str:
    """The dated page."""
    rows = []
    for way, (expected, _) in WAYS.items():
        counts = [run.statuses.get(way, Counter[int]()).total() for run in runs.values()]
        rows.append([way, str(expected or "none"), *map(str, counts)])
    kinds = Counter(kind for run in runs.values() for kind in run.canaries.values())
    problems = [f"- {name}: {text}" for name, run in runs.items() for text in _problems(run)]
    return "\n".join(
        [
            f"# Canaries, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- canaries: {', '.join(f'{kind} {count}' for kind, count in kinds.items())}",
            f"\nReproduce: `{command}`\n",
            gates_table(gates_of(runs)),
            *(["\nWhat was wrong:\n", *problems] if problems else []),
            "\nRequests by the way in which they end, each with a canary in all its fields and headers:\n",
            table(["way", "status", *runs], rows),
        ]
    )


def _problems(run: Run) -> list[str]:
    found = [
        f"{run.canaries[canary]} in {place}: `{canary}`"
        for place, some in run.found().items()
        for canary in some
    ]
    return [*run.surprises(), *sorted(found)[:20]]


def main(arguments: list[str] | None = None) -> int:
    """Drive both services, print the page; returns the exit code (1: something was found, or is not as it must be)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=500, help="to each service")
    parser.add_argument("--seed", type=int, default=1)
    dated_page.add_option(parser, "canaries")
    chosen = parser.parse_args(arguments)
    runs = {
        name: drive(settings, chosen.requests, chosen.seed + number)
        for number, (name, settings) in enumerate(CASES.items())
    }
    page = report(
        runs, f"python -m loadtests.reliability.canaries --requests {chosen.requests} --seed {chosen.seed}"
    )
    dated_page.publish("canaries", page, write=chosen.write)
    return int(any(gate.verdict != "pass" for gate in gates_of(runs)))


if __name__ == "__main__":
    sys.exit(main())
