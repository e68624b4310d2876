"""WaitingQueue: tenants are served evenly while they wait, whatever each of them asks for."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.core.sequence import Sequence
from app.engine.core.waiting_queue import WaitingQueue
from app.engine.messages import AddRequest
from tests.engine.core.virtual_engine import VirtualEngine


def sequence(number: int, tenant: str, **request: object) -> Sequence:
    asked = {"id": number, "prompt": [7] * 10, "tenant": tenant} | request
    return Sequence.of(AddRequest(**asked), now=float(number))  # type: ignore[arg-type]


def serve(queue: WaitingQueue, most: int, tokens: float = 10.0) -> list[int]:
    """Take the next sequences, each charged with so many tokens; returns their ids."""
    taken = []
    for next_one in queue.in_turn():
        queue.take(next_one)
        queue.served(next_one.request.tenant, tokens)
        taken.append(next_one.id)
        if len(taken) == most:
            break
    return taken


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=80), st.data())
def test_who_always_waits_is_served_as_much_as_anybody(
    arrivals: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Over any time in which two tenants both wait, what they get differs by two turns at most, as in the paper."""
    queue, cost = WaitingQueue(), dict[int, int]()
    served = Counter[str]()
    together: dict[tuple[str, str], int] = {}
    for number, (tenant, tokens) in enumerate(arrivals):
        cost[number] = tokens
        queue.add(sequence(number, tenant))
        for _ in range(data.draw(st.integers(0, 2))):
            next_one = next(iter(queue.in_turn()), None)
            if next_one is None:
                break
            queue.take(next_one)
            queue.served(next_one.request.tenant, cost[next_one.id])
            served[next_one.request.tenant] += cost[next_one.id]
        waiting = {one.request.tenant for one in queue}
        for pair in combinations("abc", 2):
            if not waiting.issuperset(pair):
                together.pop(pair, None)
                continue
            ahead = served[pair[0]] - served[pair[1]]
            assert abs(ahead - together.setdefault(pair, ahead)) <= 2 * 9


def test_a_tenant_that_asks_for_ten_times_as_much_waits_for_itself() -> None:
    queue = WaitingQueue()
    for number in range(100):
        queue.add(sequence(number, "loud"))
    for number in range(100, 110):
        queue.add(sequence(number, "quiet"))
    turns = ["quiet" if number >= 100 else "loud" for number in serve(queue, 20)]
    assert Counter(turns) == {"loud": 10, "quiet": 10}
    assert turns[:4] == ["loud", "quiet", "loud", "quiet"]


def test_shares_are_of_tokens_and_not_of_requests() -> None:
    queue = WaitingQueue()
    for number in range(40):
        queue.add(sequence(number, "long" if number % 2 else "short"))
    turns = Counter[str]()
    for next_one in queue.in_turn():
        tenant = next_one.request.tenant
        queue.take(next_one)
        queue.served(tenant, 30.0 if tenant == "long" else 10.0)
        turns[tenant] += 1
        if sum(turns.values()) == 16:
            break
    assert turns == {"short": 12, "long": 4}


def test_nobody_saves_up_a_claim_while_it_asks_for_nothing() -> None:
    queue = WaitingQueue()
    for number in range(100):
        queue.add(sequence(number, "busy"))
    serve(queue, 50)
    for number in range(100, 200):
        queue.add(sequence(number, "late"))
    turns = Counter("late" if number >= 100 else "busy" for number in serve(queue, 20))
    assert turns["busy"] >= 9


def test_who_was_served_before_others_came_owes_nothing() -> None:
    queue = WaitingQueue()
    queue.served("early", 1e9)
    queue.add(sequence(1, "early"))
    assert serve(queue, 1) == [1]
    queue.add(sequence(2, "new"))
    queue.add(sequence(3, "early"))
    assert serve(queue, 2, tokens=1.0) == [2, 3]


@pytest.mark.parametrize(
    ("first", "second"),
    [({"priority": -1}, {}), ({"timeout": 5.0}, {"timeout": 60.0}), ({"due": 0.1, "timeout": 60.0}, {"timeout": 5.0})],
)  # fmt: skip
def test_within_a_tenant_by_priority_and_by_who_is_due_first(
    first: dict[str, float], second: dict[str, float]
) -> None:
    queue = WaitingQueue()
    queue.add(sequence(1, "one", **second))
    queue.add(sequence(2, "one", **first))
    assert serve(queue, 2) == [2, 1]


def test_a_sequence_that_is_passed_over_keeps_its_place() -> None:
    queue = WaitingQueue()
    for number, tenant in enumerate(("a", "a", "b")):
        queue.add(sequence(number, tenant))
    turns = iter(queue.in_turn())
    assert next(turns).id == 0  # not taken
    assert [one.id for one in turns] == [1, 2]
    assert serve(queue, 3) == [0, 2, 1]
    assert len(queue) == 0


def test_priority_reaches_no_further_than_its_tenant() -> None:
    engine = VirtualEngine(max_running=1)
    engine.add(1, [11] * 4, max_tokens=1, tenant="rude", priority=-100)
    engine.add(2, [12] * 4, max_tokens=1, tenant="rude", priority=-100)
    engine.add(3, [13] * 4, max_tokens=1, tenant="kind")
    ended = [output.id for _ in range(3) for output in engine.step() if output.finish_reason]
    assert ended == [1, 3, 2]


def test_generated_tokens_are_charged() -> None:
    """Equal prompts, but one tenant's answers are long: its next requests wait for the other's."""
    engine = VirtualEngine(max_running=1, max_model_len=64)
    for number in range(4):
        engine.add(number, [10 + number] * 4, max_tokens=30, tenant="talks", ignore_eos=True)
    for number in range(4, 30):
        engine.add(number, [10 + number] * 4, max_tokens=1, tenant="asks", ignore_eos=True)
    ended = []
    while len(ended) < 12:
        ended += [output.id for output in engine.step() if output.finish_reason]
    assert ended[0] == 0
    assert all(number >= 4 for number in ended[1:11])


def test_a_preempted_sequence_is_not_charged_again() -> None:
    engine = VirtualEngine(num_blocks=6, max_running=2, max_batch_tokens=32, prefill_chunk=32)
    engine.add(1, [11] * 8, max_tokens=12, ignore_eos=True, tenant="a")
    engine.add(2, [12] * 8, max_tokens=12, ignore_eos=True, tenant="b")
    preempted = 0
    while engine.scheduler.has_work:
        engine.step()
        preempted += engine.scheduler.preemptions
    assert preempted
    assert engine.scheduler._waiting._served == {"a": 32.0, "b": 32.0}
