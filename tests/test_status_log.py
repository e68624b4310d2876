"""The line that tells of the load: read from the real metrics, silent while nothing runs."""

import asyncio
from dataclasses import replace

import pytest

from app.engine.messages import FinishReason, StepStats
from app.metrics import Metrics
from app.status_log import Reading, status, tell_status
from tests.api.conftest import build_app
from tests.engine.test_supervision import READY
from tests.exposition import chat
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio


def after(before: Reading, metrics: Metrics, seconds: float = 2.0) -> dict[str, object] | None:
    return status(before, replace(Reading.of(metrics), time=before.time + seconds))


async def test_the_line_says_what_ran_since_the_last() -> None:
    metrics = Metrics("toy")
    metrics.ready(READY)
    metrics.inter_token(1.0, 100)
    before = Reading.of(metrics)
    metrics.inter_token(1.0, 19)
    metrics.sequence_finished("chat", FinishReason.LENGTH)
    metrics.observe_request(chat(prompt_tokens=10, cached_tokens=4))
    metrics.step(StepStats(running=3, waiting=2, kv_blocks_used=4))
    assert after(before, metrics) == {
        "prompt_tokens_per_second": 5.0,
        "generated_tokens_per_second": 10.0,
        "running": 3,
        "waiting": 2,
        "kv_cache_usage": 0.5,
        "prefix_hit_rate": 0.4,
    }


async def test_an_answer_that_goes_on_is_told_as_it_comes() -> None:
    metrics = Metrics("toy")
    before = Reading.of(metrics)
    metrics.step(StepStats(running=1))
    metrics.inter_token(0.1, 4)
    line = after(before, metrics)
    assert line is not None
    assert (line["generated_tokens_per_second"], line["prefix_hit_rate"]) == (2.0, None)


async def test_a_decision_or_an_answer_that_was_left_generates_nothing() -> None:
    metrics = Metrics("toy")
    before = Reading.of(metrics)
    metrics.sequence_finished("decision", FinishReason.STOP)
    metrics.sequence_finished("chat", FinishReason.ABORTED)
    line = after(before, metrics)
    assert line is not None and line["generated_tokens_per_second"] == 0.0


async def test_there_is_no_line_while_nothing_runs(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("toy")
    metrics.observe_request(chat())
    assert after(Reading.of(metrics), metrics) is None
    caplog.set_level("INFO")
    async with tell_status(metrics, 0.01):
        await asyncio.sleep(0.05)
        assert caplog.messages == []
        metrics.step(StepStats(running=1))
        while not caplog.messages:
            await asyncio.sleep(0.01)
        metrics.step(StepStats())
    assert set(caplog.messages) == {"load"}


async def test_nothing_is_told_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    metrics = Metrics("toy")
    metrics.step(StepStats(running=1))
    async with tell_status(metrics, 0.01):
        pass
    async with tell_status(metrics, 0.0):
        await asyncio.sleep(0.05)
    assert caplog.messages == []


async def test_the_application_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    app = build_app(FakeEngine(), status_log_seconds=0.01)
    async with app.router.lifespan_context(app):
        app.state.services.metrics.step(StepStats(running=1))
        while "load" not in caplog.messages:
            await asyncio.sleep(0.01)
