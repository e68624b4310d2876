"""The engine under what Hypothesis thinks of: it shrinks what breaks a promise, and prints how to do it again."""

import logging
import random
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from app.engine.messages import AddRequest, SamplingParams
from simulation.session import Session, Setup
from simulation.virtual_model import NOT_FINITE, POISON

WORDS = st.integers(2, 9)
DOOM = st.sampled_from([[]] * 8 + [[POISON], [NOT_FINITE]])
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {},
    {"temperature": 1.0, "seed": 3},
    {"logprobs": 1},
    {"min_tokens": 2, "stop_token_ids": [5]},
]


class Simulation(RuleBasedStateMachine):
    """A cache of one longest sequence or little more, so that everything preempts everything."""

    @initialize(
        block_size=st.sampled_from([1, 2, 4]),
        spare=st.integers(0, 4),
        running=st.integers(1, 4),
        budget=st.integers(4, 12),
        drafts=st.sampled_from(["none", "own", "oracle"]),
    )
    def start(self, block_size: int, spare: int, running: int, budget: int, drafts: Any) -> None:
        setup = Setup(
            block_size=block_size,
            num_blocks=-(-16 // block_size) + spare,
            max_batch_tokens=budget,
            prefill_chunk=3,
            max_running=running,
            max_model_len=16,
            drafts=drafts,
        )
        self.session = Session(setup, random.Random(0))
        self.number = 0

    def submit(self, prompt: list[int], **fields: Any) -> None:
        self.session.submit(AddRequest(id=self.number, prompt=prompt, **fields))
        self.number += 1

    @rule(
        prompt=st.lists(WORDS, max_size=17),
        doom=DOOM,
        max_tokens=st.integers(1, 12),
        sampling=st.sampled_from(SAMPLINGS),
        priority=st.integers(0, 1),
        timeout=st.none() | st.floats(0, 0.05),
        salt=st.sampled_from(["", "a"]),
    )
    def chat(
        self,
        prompt: list[int],
        doom: list[int],
        max_tokens: int,
        sampling: dict[str, Any],
        priority: int,
        timeout: float | None,
        salt: str,
    ) -> None:
        params = SamplingParams(max_tokens=max_tokens, **sampling)
        self.submit(prompt + doom, sampling=params, priority=priority, timeout=timeout, cache_salt=salt)

    @rule(
        prompt=st.lists(WORDS, min_size=1, max_size=12),
        labels=st.lists(st.lists(WORDS, max_size=3), min_size=1, max_size=4),
        timeout=st.none() | st.floats(0, 0.05),
    )
    def decision(self, prompt: list[int], labels: list[list[int]], timeout: float | None) -> None:
        self.submit(prompt, labels=labels, timeout=timeout)

    @rule(number=st.integers(0, 20))
    def abort(self, number: int) -> None:
        self.session.abort(number)

    @rule(seconds=st.floats(0, 0.1))
    def wait(self, seconds: float) -> None:
        self.session.clock.advance(seconds)

    @rule(once=st.sampled_from(["raise", "nan", "allocation"]))
    def arm(self, once: Any) -> None:
        self.session.faults.arm(once)

    @rule(rows=st.integers(0, 4))
    def lack_memory(self, rows: int) -> None:
        self.session.faults.most_rows = rows

    @rule(seconds=st.floats(0, 10))
    def stall(self, seconds: float) -> None:
        self.session.faults.stalled = seconds

    @rule(after_step=st.booleans())
    def crash(self, after_step: bool) -> None:
        self.session.crash(after_step=after_step)

    @rule(steps=st.integers(1, 4))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.session.step()

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.faults.most_rows = 0
            self.session.drain()


@pytest.fixture
def quiet() -> Iterator[None]:
    logger = logging.getLogger("app.engine")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.mark.usefixtures("quiet")
def test_whatever_happens_all_promises_hold() -> None:
    run_state_machine_as_test(
        Simulation,
        settings=settings(max_examples=100, stateful_step_count=40, deadline=None, print_blob=True),
    )
