"""Scheduler and prefixes: who shares, who waits for whose blocks, and that nobody waits for ever."""

from app.engine.messages import FinishReason
from tests.engine.core.virtual_engine import VirtualEngine

LONG = list(range(20, 44))


def scheduled_ids(engine: VirtualEngine) -> list[int]:
    scheduled = engine.schedule()
    engine.finish(scheduled)
    return [item.sequence.id for item in scheduled]


def test_the_second_of_two_equal_prompts_waits_for_the_blocks_of_the_first_and_hits_them() -> None:
    engine = VirtualEngine(max_batch_tokens=64)
    engine.add(1, LONG, max_tokens=1)
    second = engine.add(2, LONG, max_tokens=1)
    assert scheduled_ids(engine) == [1]
    assert scheduled_ids(engine) == [2]
    assert second.cached_tokens == 20


def test_others_are_not_held_up_by_one_that_waits() -> None:
    engine = VirtualEngine(max_batch_tokens=64)
    engine.add(1, LONG, max_tokens=1)
    engine.add(2, LONG, max_tokens=1)
    engine.add(3, [9] * 6, max_tokens=1)
    assert scheduled_ids(engine) == [1, 3]


def test_unequal_salts_neither_wait_nor_share() -> None:
    engine = VirtualEngine(max_batch_tokens=64)
    engine.add(1, LONG, max_tokens=1, cache_salt="one")
    other = engine.add(2, LONG, max_tokens=1, cache_salt="two")
    assert scheduled_ids(engine) == [1, 2]
    assert other.cached_tokens == 0


def test_questions_about_one_text_share_it() -> None:
    engine = VirtualEngine(max_batch_tokens=64)
    for number in range(4):
        engine.add(number, [*LONG, 50 + number], labels=[[5, 6], [7]])
    outputs = engine.run(steps=2)
    assert [outputs[number][0].cached_tokens for number in range(4)] == [0, 24, 24, 24]


def test_one_that_waits_for_an_aborted_request_goes_on_alone() -> None:
    engine = VirtualEngine()
    engine.add(1, LONG, max_tokens=1)
    engine.add(2, LONG, max_tokens=1)
    assert scheduled_ids(engine) == [1]
    engine.scheduler.abort(1)
    assert scheduled_ids(engine) == [2]


def test_one_that_waits_for_a_failed_request_goes_on_alone() -> None:
    engine = VirtualEngine()
    engine.add(1, LONG, max_tokens=1)
    engine.add(2, LONG, max_tokens=1)
    outputs = engine.step(failed=frozenset([1]))
    assert [output.finish_reason for output in outputs] == [FinishReason.FAILED]
    assert scheduled_ids(engine) == [2]


def test_one_that_waits_is_not_starved_by_later_arrivals() -> None:
    engine = VirtualEngine(num_blocks=16, max_model_len=64)
    engine.add(0, LONG, max_tokens=1)
    waiting = engine.add(1, LONG, max_tokens=1)
    for step in range(8):
        engine.now += 1
        engine.add(10 + step, [9] * 8 + [step], max_tokens=1)
        engine.step()
    assert waiting.finish_reason is FinishReason.LENGTH
