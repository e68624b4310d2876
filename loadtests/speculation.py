"""Speed with and without speculation, over HTTP, in turns: what it gains on support questions, what it costs elsewhere.

    python -m loadtests.speculation --data DIRECTORY [--model DIRECTORY] [--streams 1 8 16] [--write]

Two services with the same weights run side by side, one with `REPARTEE_SPECULATION=false`; only one is asked at a time.
The questions are those kept out of the embedded model's training, and the known answers are among those trained on.
`unlike` are random letters at a high temperature: text that repeats neither itself nor an answer.
"""

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.bench.client import Timeline, stream
from app.bench.http_stream import RequestFailed, post
from app.bench.markdown import number, table
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.prompts import letters
from loadtests.ready_service import ready_service
from workshop.bitext import exchange, read_support
from workshop.slots import Facts

_TOKENS = 300
Request = tuple[str, dict[str, Any]]
"""Path and body."""


@dataclass(frozen=True)
class Case:
    """Requests that are measured together.

    Attributes:
        streams: requests at once.
        requests: without end.
    """

    name: str
    streams: int
    requests: Iterator[Request]


def held_out_questions(data: Path) -> Callable[[float], Iterator[Request]]:
    """Chats, without end, with the questions that were kept out of training, at a temperature."""
    rng = random.Random(6)
    questions = [exchange(row, Facts(), rng)[0].content for row in read_support(data, test=True)]
    rng.shuffle(questions)

    def chats(temperature: float) -> Iterator[Request]:
        while True:
            for seed, question in enumerate(questions):
                body = {"messages": [{"role": "user", "content": question}], "temperature": temperature}
                yield "/v1/chat/completions", body | {"seed": seed, "max_tokens": 2 * _TOKENS}

    return chats


def unlike() -> Iterator[Request]:
    """Completions, without end, of random letters at a temperature at which nothing is said twice."""
    chooser = random.Random(6)
    while True:
        body = {"prompt": letters(64, chooser), "temperature": 1.5, "seed": chooser.randrange(1 << 30)}
        yield "/v1/completions", body | {"max_tokens": _TOKENS, "ignore_eos": True}


async def ask(base: str, model: str, requests: list[Request]) -> list[Timeline]:
    """Stream all requests at once."""
    return await asyncio.gather(*[stream(base + path, body | {"model": model}) for path, body in requests])


def decode_speed(timelines: list[Timeline]) -> float:
    """Tokens a second from the first text of the first stream to the end of the last."""
    begin = min(timeline.texts[0] for timeline in timelines)
    end = max(timeline.texts[-1] for timeline in timelines)
    return sum(timeline.tokens for timeline in timelines) / (end - begin)


async def differing(bases: list[str], model: str, requests: list[Request]) -> int:
    """How many of the requests the services answer with different texts."""

    async def text(base: str, path: str, body: dict[str, Any]) -> Any:
        answer = msgspec.json.decode(
            await post(base + path, msgspec.json.encode(body | {"model": model, "stream": False}))
        )
        return [answer["choices"], answer["usage"]["completion_tokens"]]

    return sum([await text(bases[0], *one) != await text(bases[1], *one) for one in requests])


async def measure(bases: list[str], model: str, cases: list[Case], rounds: int) -> list[list[str]]:
    """A row for each case: the speed of both services and the ratio, medians over rounds taken in turns."""
    rows = []
    for case in cases:
        print(f"{case.name}, {case.streams} streams", file=sys.stderr, flush=True)
        speeds: list[list[float]] = [[], []]
        for turn in range(rounds + 1):
            requests = list(islice(case.requests, case.streams if case.streams > 1 else 4))
            for which in (0, 1) if turn % 2 else (1, 0):
                groups = [requests] if case.streams > 1 else [[request] for request in requests]
                found = [decode_speed(await ask(bases[which], model, group)) for group in groups]
                if turn:  # the first round warms up
                    speeds[which].append(statistics.harmonic_mean(found))
        ratios = [on / off for off, on in zip(*speeds, strict=True)]
        off, on = (statistics.median(one) for one in speeds)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        ratio = f"{statistics.median(ratios):.2f}"
        rows.append([case.name, str(case.streams), number(off), number(on), ratio, spread])
    return rows


def report(rows: Sequence[Sequence[str]], model: str, rounds: int, different: str, command: str) -> str:
    """The dated page."""
    head = ["case", "streams", "off tok/s", "on tok/s", "on / off", "least and most"]
    return "\n".join(
        [
            f"# What drafts gain, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"\nReproduce: `{command}`\n",
            f"Tokens a second of {model} while streams decode, medians of {rounds} rounds in turns.\n",
            table(head, rows),
            f"\n{different}",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Start both services, measure, and say whether their answers differed; returns the exit code (2: refused)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True,
                        help="with bitext/, the support questions that the embedded model was trained on")  # fmt: skip
    parser.add_argument("--model", type=Path, default=Path(EMBEDDED_MODEL))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    dated_page.add_option(parser, "speculation")
    options = parser.parse_args(arguments)
    try:
        page = _compare(options)
    except OSError as error:
        print(f"loadtests.speculation: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (ProcessFailed, RequestFailed) as error:
        print(f"loadtests.speculation: {error}", file=sys.stderr)
        return 2
    dated_page.publish("speculation", page, write=options.write)
    return 0


def _compare(options: argparse.Namespace) -> str:
    """The page of both services.

    Raises:
        OSError: the questions cannot be read.
        ProcessFailed, RequestFailed: a service does not start, or does not answer.
    """
    questions = held_out_questions(options.data)
    cases = [
        *(Case("held-out questions, greedy", count, questions(0.0)) for count in options.streams),
        Case("held-out questions, temperature 0.3", 1, questions(0.3)),
        *(Case("unlike", count, unlike()) for count in options.streams),
    ]
    with ExitStack() as stack:
        bases = []
        for speculation in ("false", "true"):
            settings = {"MODEL": str(options.model), "SPECULATION": speculation, "DEVICE": "cpu"}
            settings |= {"LOG_LEVEL": "warning", "THREADS": str(options.threads), "KV_CACHE_TOKENS": "32768"}
            bases.append(stack.enter_context(ready_service(settings)).url)
        rows = asyncio.run(measure(bases, options.model.name, cases, options.rounds))
        compared = [*islice(questions(0.0), 8), *islice(questions(0.8), 8)]
        different = asyncio.run(differing(bases, options.model.name, compared))
    streams = " ".join(map(str, options.streams))
    command = (
        f"python -m loadtests.speculation --data DIRECTORY --streams {streams} --rounds {options.rounds}"
    )
    differ = f"{different} of {len(compared)} whole answers differ."
    return report(rows, options.model.name, options.rounds, differ, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
