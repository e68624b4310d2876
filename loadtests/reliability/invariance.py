"""Whether an answer depends on who else is served: alone against random mixes, and beside requests that go wrong.

    python -m loadtests.reliability.invariance [--mixes 400] [--seed S] [--write]

In process, with the embedded model in the native decoder. Alone means: one request after another, without drafts,
bursts or a prefix cache, the whole prompt in one step. A mix has other sizes of steps and chunks, a cache that may be
too small for it, drafts, bursts, shared prefixes, and readers that leave.
"""

import argparse
import datetime
import itertools
import logging
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from app.bench.markdown import number, table
from app.bench.options import positive
from app.bench.questions import question
from app.engine.config import EngineConfig
from app.engine.core.answer_store import AnswerStore
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import LoadedModel, load_model
from app.engine.core.sequence import Sequence as EngineSequence
from app.engine.messages import AddRequest, FinishReason, SamplingParams, SequenceOutput, TokenLogprob
from app.services.chat_template import Message
from app.services.tokenizer import Tokenizer
from app.settings import EMBEDDED_MODEL
from loadtests import dated_page
from loadtests.front_end import SYSTEM
from loadtests.machine import machine
from loadtests.prompts import LABELS
from loadtests.reliability.failing_passes import KINDS, FailingPasses

EXIT_DIFFERENT = 1
EXIT_NOTHING_SHOWN = 3
_PREEMPTIONS, _CACHED, _FAILED = "preemptions", "tokens from the prefix cache", "passes that went wrong"
_LONGEST = 384
_STREAMS, _SPEED_TOKENS, _SPEED_ROUNDS = 16, 32, 2
_SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"logprobs": 2},
    {"temperature": 0.7},
    {"temperature": 1.0, "top_p": 0.9, "logprobs": 0},
    {"temperature": 1.2, "top_k": 40, "min_p": 0.02},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.3},
)


@dataclass
class Answer:
    """All that was said to one request."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    reason: FinishReason | None = None

    def take(self, output: SequenceOutput) -> None:
        """Take the next output."""
        self.tokens += output.tokens
        self.logprobs += output.logprobs
        self.scores = output.label_scores
        self.reason = output.finish_reason

    def agrees(self, alone: "Answer", request: AddRequest) -> bool:
        """Whether it is the answer that the request gets alone, to the bit; of one that was left, its beginning."""
        left, count = self.reason is FinishReason.ABORTED, len(self.tokens)
        asked = request.sampling.logprobs is not None
        return (
            self.tokens == (alone.tokens[:count] if left else alone.tokens)
            and self.logprobs == (alone.logprobs[:count] if asked else [])
            and (left or (self.scores == alone.scores and self.reason is alone.reason))
        )


@dataclass
class Seen:
    """What mixes of one kind came to."""

    mixes: int = 0
    answers: int = 0
    different: int = 0
    unblamed: int = 0
    """Culprits that got an answer."""
    counts: Counter[str] = field(default_factory=Counter)


def bank(chooser: random.Random, count: int) -> list[AddRequest]:
    """Requests to draw from: support chats, greedy and sampled, and decisions."""
    tokenizer = Tokenizer.from_directory(EMBEDDED_MODEL)
    ends = tokenizer.eos_token_ids[:1]
    requests = []
    for index in range(count):
        messages = [Message("user", question(chooser))]
        if chooser.random() < 0.4:
            messages.insert(0, Message("system", SYSTEM))
        prompt = tokenizer.encode_prompt(messages)
        if chooser.random() < 0.2:
            names = chooser.sample(LABELS, chooser.randrange(2, 20))
            labels = [[*tokenizer.encode(name), *ends] for name in names]
            requests.append(AddRequest(id=index, prompt=prompt, labels=labels))
            continue
        sampling = SamplingParams(
            max_tokens=chooser.randrange(1, 80), seed=index, **chooser.choice(_SAMPLINGS)
        )
        requests.append(AddRequest(id=index, prompt=prompt, sampling=sampling))
    return requests


def config_of(**sizes: Any) -> EngineConfig:
    """For the embedded model on the CPU."""
    values = {"kv_cache_tokens": 8192, "max_model_len": _LONGEST} | sizes
    return EngineConfig(model=EMBEDDED_MODEL, device="cpu", **values)


def alone(loaded: LoadedModel, requests: Sequence[AddRequest]) -> list[Answer]:
    """What each request gets with nobody beside it."""
    core = EngineCore(loaded, config_of(speculation=False, prefix_cache=False))
    answers = []
    for request in requests:
        plain = request.sampling
        if plain.logprobs is None:  # with them there is no burst
            plain = msgspec.structs.replace(plain, logprobs=0)
        core.add(msgspec.structs.replace(request, sampling=plain))
        answer = Answer()
        while core.has_work:
            for output in core.step().outputs:
                answer.take(output)
        answers.append(answer)
    return answers


class Mixes:
    """Draws mixes out of a bank, runs them, and compares.

    Args:
        answers: of each request of the bank, alone.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        requests: Sequence[AddRequest],
        answers: Sequence[Answer],
        chooser: random.Random,
    ) -> None:
        self._loaded = loaded
        self._requests = requests
        self._likeliest = [request for request in requests if EngineSequence.of(request, 0.0).says_likeliest]
        """Those that may speak in bursts, which they do among themselves."""
        self._answers = answers
        self._chooser = chooser
        half = [
            token for answer in answers[::2] for token in [*answer.tokens, *sorted(loaded.eos_token_ids)[:1]]
        ]
        self._store = AnswerStore(half)

    def run(self, kind: str, seen: Seen) -> None:
        """Run one mix, in which something of that kind goes wrong, and add it up."""
        chooser = self._chooser
        core = EngineCore(self._loaded, self._config(), self._store)
        pool = self._likeliest if chooser.random() < 0.4 else self._requests
        picked = chooser.sample(pool, min(len(pool), chooser.randrange(2, 33)))
        arrivals = sorted(picked, key=lambda _: chooser.random())
        failing = FailingPasses(core, kind, culprit=picked[0].id)
        got = {request.id: Answer() for request in picked}
        leaving = {request.id for request in picked if chooser.random() < 0.1} - {picked[0].id}
        while arrivals or core.has_work:
            for _ in range(min(len(arrivals), chooser.choice([0, 0, 1, 4, 32]))):
                core.add(arrivals.pop())
            if leaving and chooser.random() < 0.1:
                core.abort(leaving.pop())
            step = core.step()
            core.check_invariants()
            for output in step.outputs:
                got[output.id].take(output)
            for name in (_PREEMPTIONS, "drafted", "accepted"):
                seen.counts[name] += getattr(step.stats, name)
            seen.counts[_CACHED] += sum(o.cached_tokens for o in step.outputs)
            seen.counts["prompts in chunks"] += sum(
                not output.tokens and output.finish_reason is None for output in step.outputs
            )
        seen.mixes += 1
        seen.counts[_FAILED] += failing.failed
        seen.counts["bursts"] += failing.bursts
        for request in picked:
            answer = got[request.id]
            seen.counts["tokens"] += len(answer.tokens)
            if failing.blames == request.id:
                seen.unblamed += answer.reason is not FinishReason.FAILED
                continue
            seen.answers += 1
            seen.different += not answer.agrees(self._answers[request.id], request)

    def _config(self) -> EngineConfig:
        chooser = self._chooser
        return config_of(
            max_batch_tokens=chooser.choice([33, 64, 100, 512]),
            prefill_chunk=chooser.choice([7, 16, 33, 128]),
            max_running=chooser.choice([2, 5, 16, 32]),
            kv_cache_tokens=chooser.choice([_LONGEST, _LONGEST, 1024, 8192]),
            threads=chooser.choice([0, 1, 2]),
        )


def speed(loaded: LoadedModel, prompts: Sequence[list[int]]) -> float:
    """Tokens a second of greedy streams without drafts, the fastest of some rounds."""
    core = EngineCore(loaded, config_of(speculation=False, prefix_cache=False))
    sampling = SamplingParams(max_tokens=_SPEED_TOKENS, ignore_eos=True)
    fastest = 0.0
    for _ in range(_SPEED_ROUNDS):
        for index, prompt in enumerate(prompts):
            core.add(AddRequest(id=index, prompt=prompt, sampling=sampling))
        began = time.perf_counter()
        while core.has_work:
            core.step()
        fastest = max(fastest, len(prompts) * _SPEED_TOKENS / (time.perf_counter() - began))
    return fastest


def main(arguments: Sequence[str]) -> int:
    """Run, print, write; returns the exit code (1: an answer was another one, 3: it would not have shown)."""
    options = _parser().parse_args(arguments)
    facts, chooser = machine(), random.Random(options.seed)
    logging.getLogger("app.engine").setLevel(logging.CRITICAL)  # it tells of each pass that went wrong
    loaded = load_model(config_of())
    if loaded.kernels != "native":
        print(
            "loadtests.reliability.invariance: no native decoder here: " + "; ".join(loaded.reasons),
            file=sys.stderr,
        )
        return 2
    requests = bank(chooser, options.bank)
    mixes = Mixes(loaded, requests, alone(loaded, requests), chooser)
    seen = {kind: Seen() for kind in KINDS}
    plain = [KINDS[0]] * (len(KINDS) - 2)  # half of all mixes, nearly
    for kind, _ in zip(itertools.cycle([*plain, *KINDS[1:]]), range(options.mixes), strict=False):
        mixes.run(kind, seen[kind])
    prompts = [request.prompt for request in requests if not request.labels][:_STREAMS]
    speeds = {"native decoder": speed(loaded, prompts)}
    torch.set_num_threads(loaded.model.threads)
    speeds["PyTorch, float32"] = speed(load_model(config_of(dtype="float32", quantization="none")), prompts)
    page = render(
        seen, speeds, facts, shlex.join(["python", "-m", "loadtests.reliability.invariance", *arguments])
    )
    dated_page.publish("invariance", page, write=options.write)
    wrong = sum(one.different + one.unblamed for one in seen.values())
    return EXIT_DIFFERENT if wrong else EXIT_NOTHING_SHOWN if not_shown(seen) else 0


def not_shown(seen: dict[str, Seen]) -> list[str]:
    """What never happened in these mixes, though equal answers are to be shown in spite of it."""
    missing = [name for name in (_PREEMPTIONS, _CACHED) if not sum(one.counts[name] for one in seen.values())]
    return missing + [f"{_FAILED}, of {kind}" for kind in KINDS[1:] if not seen[kind].counts[_FAILED]]


def render(seen: dict[str, Seen], speeds: dict[str, float], facts: dict[str, str], command: str) -> str:
    """The dated page."""
    different = sum(one.different for one in seen.values())
    answers = sum(one.answers for one in seen.values())
    counts = sum((one.counts for one in seen.values()), Counter[str]())
    ours, other = speeds.values()
    rows = [
        [
            kind,
            str(one.mixes),
            f"{one.answers:,}",
            str(one.different),
            f"{one.counts[_FAILED]:,}",
        ]
        for kind, one in seen.items()
    ]
    unblamed = sum(one.unblamed for one in seen.values())
    lines = [
        f"# The same answer in any company, {datetime.date.today().isoformat()}\n",
        *[f"- {name}: {value}" for name, value in facts.items()],
        f"\nReproduce: `{command}`\n",
        f"**{different} of {answers:,} answers differ from what the request gets alone**: tokens, log-probabilities "
        "and label scores, to the bit.",
        f"Of the requests that went wrong, {unblamed} got an answer.",
        *[f"**Not shown, since it never happened here: {what}.**" for what in not_shown(seen)],
        "",
        table(["beside them", "mixes", "answers compared", "different", _FAILED], rows),
        "\nThese faults are planted around the decoder. In a burst even the finding of NaN is: the culprit's result is "
        "marked as failed from outside (failing_passes.py), and only what becomes of the others is shown.",
        "\nWhat happened in these mixes:\n",
        table(["", "count"], [[name, f"{count:,}"] for name, count in sorted(counts.items())]),
        "\n## What it costs\n",
        "The native decoder adds up each row in one order, whatever stands beside it, and knows no other way: "
        "there is nothing to switch off, and no share of the throughput can be told apart as its "
        f"price. PyTorch is not invariant. {_STREAMS} greedy streams without drafts, best of {_SPEED_ROUNDS}:\n",
        table(["", "tok/s"], [[name, number(value)] for name, value in speeds.items()]),
        f"\nThe invariant way has {ours / other:.2f} times the throughput. No bar is judged by these figures "
        "here.",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.invariance", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--mixes", type=positive(int, 100_000), default=400, help="default: 400")
    add(
        "--bank",
        type=positive(int, 2000),
        default=200,
        help="requests that they are drawn from; default: 200",
    )
    add("--seed", type=int, default=1, help="of everything; default: 1")
    dated_page.add_option(parser, "invariance")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
