"""Traffic: random requests, readers that leave, time and faults, all out of one seed."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.engine.messages import AddRequest, SamplingParams
from simulation.session import Session, Setup
from simulation.virtual_model import NOT_FINITE, POISON, WORDS

SESSION_STEPS = 1000
_TENANTS = ("", "one", "two")
_SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 5, "logprobs": 1},
    {"temperature": 1.2, "top_p": 0.9, "min_p": 0.05},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.4},
    {"logprobs": 2},
    {"min_tokens": 6, "stop_token_ids": [5, 6]},
    {"logit_bias": {7: 2.0}},
]


@dataclass
class Tally:
    """What sessions came to."""

    sessions: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, session: Session) -> None:
        """Add one's figures."""
        self.sessions += 1
        self.ended += session.ended
        self.faults += session.faults.met
        most = max(self.counts["most overtaken"], session.counts["most overtaken"])
        self.counts += session.counts
        self.counts["most overtaken"] = most


class Traffic:
    """What happens in one session.

    Args:
        seed: of everything in it.
    """

    def __init__(self, seed: str) -> None:
        self._chooser = chooser = random.Random(seed)
        self.session = Session(_setup(chooser), chooser)
        self._arrivals = chooser.choice([0.1, 0.4, 0.8])
        self._faults = chooser.choice([0.0, 0.05])
        longest = self.session.setup.max_model_len
        self._prompts = [_words(chooser, chooser.randrange(1, longest)) for _ in range(6)]
        self._number = 0

    def run(self, steps: int = SESSION_STEPS) -> None:
        """So many steps, and then on until nobody waits.

        Raises:
            AssertionError: something did not hold.
        """
        for _ in range(steps):
            self._happen()
            self.session.step()
        self.session.faults.most_rows = 0
        self.session.drain()

    def _happen(self) -> None:
        """What comes between two steps."""
        chooser, session = self._chooser, self.session
        if chooser.random() < self._arrivals and len(session.readers) < 40:
            for _ in range(chooser.choice([1, 1, 1, 4])):
                session.submit(self._request())
        if chooser.random() < 0.03 and self._number:
            session.abort(chooser.randrange(max(0, self._number - 50), self._number + 1))
        if chooser.random() < 0.1:
            session.clock.advance(chooser.choice([0.0, 1e-9, 0.003, 0.003, 0.003, 0.1]))
        if chooser.random() < self._faults:
            self._break()

    def _break(self) -> None:
        chooser, session = self._chooser, self.session
        match chooser.randrange(8):
            case 0 | 1:
                session.faults.arm("raise")
            case 2:
                session.faults.arm("nan")
            case 3:
                session.faults.arm("allocation")
            case 4:
                session.faults.most_rows = chooser.choice([0, 0, 0, 1, 2, 5])
            case 5:
                session.faults.stalled = chooser.choice([0.5, 30.0])
            case 6:
                session.faults.slowness = chooser.choice([0.1, 1.0, 1.0, 20.0])
            case 7:
                session.crash(after_step=chooser.random() < 0.5)

    def _request(self) -> AddRequest:
        chooser = self._chooser
        number, self._number = self._number, self._number + 1
        prompt = chooser.choice(self._prompts)
        prompt = prompt[: chooser.randrange(1, len(prompt) + 1)] + _words(chooser, chooser.randrange(4))
        doom = chooser.random()
        if doom < 0.01:
            prompt = [*prompt, chooser.choice([POISON, NOT_FINITE]), *_words(chooser, 3)]
        elif doom < 0.015:
            prompt = chooser.choice([[], prompt * 70])
        labels, sampling = list[list[int]](), SamplingParams()
        if chooser.random() < 0.2:
            labels = [_words(chooser, chooser.randrange(1, 4)) for _ in range(chooser.randrange(1, 5))]
        else:
            sampling = SamplingParams(
                max_tokens=chooser.randrange(1, 33),
                ignore_eos=chooser.random() < 0.2,
                seed=chooser.choice([None, 3]),
                **(chooser.choice(_SAMPLINGS) if chooser.random() < 0.15 else {}),
            )
        priority = chooser.choice([0, 0, 0, 1])
        timeout = chooser.choice([None, None, None, 0.0, 0.02, 0.3, 2.0])
        tenant = chooser.choice(_TENANTS)
        return AddRequest(
            id=number,
            prompt=prompt,
            labels=labels,
            sampling=sampling,
            priority=priority,
            timeout=timeout,
            tenant=tenant,
            cache_salt=tenant,
        )


def _words(chooser: random.Random, count: int) -> list[int]:
    return chooser.choices(WORDS, k=count)


def _setup(chooser: random.Random) -> Setup:
    """A small engine; its cache holds from one longest sequence up to more than all that run."""
    block_size = chooser.choice([1, 2, 4, 8])
    longest = chooser.choice([16, 48, 64])
    running = chooser.choice([1, 3, 6, 12])
    return Setup(
        block_size=block_size,
        num_blocks=-(-longest // block_size) * chooser.choice([1, 1, 2, 4]) + chooser.randrange(3),
        max_batch_tokens=chooser.choice([running, 16, 48]),
        prefill_chunk=chooser.choice([1, 6, 16]),
        max_running=running,
        max_model_len=longest,
        prefix_cache=chooser.random() < 0.8,
        drafts=chooser.choice(["none", "own", "own", "oracle"]),
    )
