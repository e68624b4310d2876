"""Speed with and without speculation, over HTTP, in turns: what it gains on support questions, what it costs elsewhere.

    python -m loadtests.speculation [--data DIRECTORY] [--model DIRECTORY] [--streams 1 8 16]

Two services with the same weights run side by side, one with `REPARTEE_SPECULATION=false`; only one is asked at a time.
The questions are those kept out of the embedded model's training, and the known answers are among those trained on.
`unlike` are random letters at a high temperature: text that repeats neither itself nor an answer.
"""

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.bench.client import Timeline, stream
from app.bench.http_stream import post
from app.settings import EMBEDDED_MODEL
from loadtests.machine import machine
from loadtests.processes import free_port, running
from loadtests.prompts import letters
from workshop.bitext import exchange, read_support
from workshop.slots import Facts

_START_SECONDS = 60.0
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


async def measure(bases: list[str], model: str, cases: list[Case], rounds: int) -> None:
    """Print, for each case, the speed of both services and the ratio, medians over rounds taken in turns."""
    print("| case | streams | off tok/s | on tok/s | on / off | least and most |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in cases:
        speeds: list[list[float]] = [[], []]
        for number in range(rounds + 1):
            requests = list(islice(case.requests, case.streams if case.streams > 1 else 4))
            for which in (0, 1) if number % 2 else (1, 0):
                groups = [requests] if case.streams > 1 else [[request] for request in requests]
                found = [decode_speed(await ask(bases[which], model, group)) for group in groups]
                if number:  # the first round warms up
                    speeds[which].append(statistics.harmonic_mean(found))
        ratios = [on / off for off, on in zip(*speeds, strict=True)]
        off, on = (statistics.median(one) for one in speeds)
        print(
            f"| {case.name} | {case.streams} | {off:.0f} | {on:.0f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


def main() -> None:
    """Start both services, measure, and say whether their answers differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path(EMBEDDED_MODEL))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    questions = held_out_questions(arguments.data)
    cases = [
        *(Case("held-out questions, greedy", count, questions(0.0)) for count in arguments.streams),
        Case("held-out questions, temperature 0.3", 1, questions(0.3)),
        *(Case("unlike", count, unlike()) for count in arguments.streams),
    ]
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    with ExitStack() as stack:
        bases = []
        for speculation in ("false", "true"):
            port = free_port()
            settings = {"PORT": str(port), "MODEL": str(arguments.model), "SPECULATION": speculation}
            settings |= {"DEVICE": "cpu", "LOG_LEVEL": "warning", "THREADS": str(arguments.threads)}
            settings |= {"KV_CACHE_TOKENS": "32768"}
            environment = {f"REPARTEE_{name}": value for name, value in settings.items()}
            server = stack.enter_context(running([sys.executable, "-m", "app"], environment))
            print(
                f"speculation {speculation}: ready in {server.wait_for(port, '/readyz', _START_SECONDS):.2f} s"
            )
            bases.append(f"http://127.0.0.1:{port}")
        asyncio.run(measure(bases, arguments.model.name, cases, arguments.rounds))
        compared = [*islice(questions(0.0), 8), *islice(questions(0.8), 8)]
        different = asyncio.run(differing(bases, arguments.model.name, compared))
        print(f"{different} of {len(compared)} answers differ.")


if __name__ == "__main__":
    main()
