"""Admission: what would be answered too late is refused, and nobody pays for another tenant's queue."""

import itertools
from collections.abc import Mapping
from contextlib import suppress
from math import inf

import pytest

from app.engine.admission import SEQUENCE_TOKENS, Admission, Pending, Work
from app.engine.messages import StepStats
from app.errors import Overloaded
from app.observation import Task

SECOND = 100 - SEQUENCE_TOKENS
"""Tokens of a sequence that takes a second at the pace of `Service`."""


class Service:
    """Sequences that are answered one after another, a second for each hundred of their cost."""

    def __init__(self, objectives: Mapping[Task, float] | None = None, max_waiting: int = 256) -> None:
        self.now = 1000.0
        self.admission = Admission(objectives or {}, max_waiting, clock=lambda: self.now)
        self.ids = itertools.count()

    def ask(self, tenant: str = "", **work: object) -> int:
        """One sequence, let in or refused; returns its id."""
        asked = Work(work.pop("task", "chat"), tenant, **({"sequences": 1, "tokens": SECOND} | work))  # type: ignore[arg-type]
        self.admission.check(asked)
        number = next(self.ids)
        within = (asked.timeout, self.admission.due(asked.task))
        order = (asked.priority, self.now + min((one for one in within if one is not None), default=inf))
        self.admission.opened(number, Pending(tenant, asked.tokens + SEQUENCE_TOKENS, order))
        return number

    def answer(self, number: int, seconds: float = 1.0) -> None:
        self.now += seconds
        self.admission.answered(number)

    def learn(self) -> None:
        """Answer so many that the pace is known, and be idle since."""
        for number in [self.ask() for _ in range(20)]:
            self.answer(number)
            self.admission.ended(number)
        self.now += 100.0


def refusal(service: Service, tenant: str = "", **work: object) -> float:
    """Have a request refused; returns after how many seconds it may come again."""
    with pytest.raises(Overloaded) as caught:
        service.ask(tenant, **work)
    return caught.value.retry_after


def fill(service: Service, **work: object) -> int:
    """How many are let in until one is refused."""
    for count in range(1000):
        try:
            service.ask(**work)
        except Overloaded:
            return count
    raise AssertionError("nothing is refused")


def test_nothing_is_refused_before_anything_is_known_but_by_number() -> None:
    service = Service({"chat": 0.5}, max_waiting=30)
    for _ in range(30):
        service.ask()
    assert refusal(service) >= 1.0


def test_a_burst_is_let_in_as_far_as_it_meets_the_objective() -> None:
    service = Service({"chat": 19.0, "decision": 13.0})
    service.learn()
    assert fill(service) == 10
    assert fill(service, task="decision") == 7  # they are due sooner, and chats wait for them
    assert service.ask(task="completion")  # no objective


def test_under_a_flood_the_queue_is_short() -> None:
    """As soon as one is answered others come, more than are taken: half of the objective waits first, then little."""
    service = Service({"chat": 40.0})
    service.learn()
    waiting = [service.ask() for _ in range(20)]
    longest = []
    for _ in range(60):
        service.answer(waiting.pop(0))
        for _ in range(10):
            with suppress(Overloaded):
                waiting.append(service.ask())
        longest.append(len(waiting))
    assert longest[0] == 21
    assert max(longest[30:]) == 2
    service.now += 41.0  # an objective's time without a refusal
    for number in waiting:
        service.answer(number, seconds=0.1)
    assert fill(service) >= 15


def test_under_a_flood_what_one_step_answers_may_wait() -> None:
    """Eight in each step of eight seconds: if fewer were let in, fewer would be answered."""
    service = Service({"chat": 40.0})
    service.learn()
    step = StepStats(sequences=8, tokens=512, seconds=8.0, phase="prefill")
    waiting = [service.ask() for _ in range(8)]
    for _ in range(50):
        service.now += 8.0
        service.admission.stepped(step)
        for _ in range(min(8, len(waiting))):
            service.answer(waiting.pop(0), seconds=0.0)
        for _ in range(40):
            with suppress(Overloaded):
                waiting.append(service.ask())
        assert 8 <= len(waiting) <= 24
    assert len(waiting) in (8, 9)


def test_a_flood_lasts_as_long_as_many_are_refused() -> None:
    service = Service({"chat": 40.0, "decision": 20.0})
    service.learn()
    for _ in range(21):
        service.ask()
    for _ in range(19):
        refusal(service)
    assert not service.admission.flooded
    refusal(service)
    assert service.admission.flooded
    service.now += 39.0
    assert service.admission.flooded
    service.now += 2.0
    assert not service.admission.flooded


def test_who_ask_again_only_when_answered_are_no_flood() -> None:
    """Twenty clients that each wait for their answer keep a queue of twenty, and it meets its objective."""
    service = Service({"chat": 42.0})
    service.learn()
    waiting = [service.ask() for _ in range(20)]
    for _ in range(200):
        service.answer(waiting.pop(0))
        waiting.append(service.ask())


def test_a_deadline_that_cannot_be_met_is_refused() -> None:
    service = Service()
    service.learn()
    for _ in range(40):
        service.ask(timeout=60.0)
    assert 5.0 <= refusal(service, timeout=35.0, priority=1) <= 9.0
    service.ask(timeout=45.0, priority=1)
    service.ask(timeout=5.0)  # is ahead of them
    service.ask(timeout=35.0, priority=-1)
    service.ask()  # without a deadline it can wait


def test_another_tenants_queue_counts_as_much_as_ones_own() -> None:
    service = Service({"chat": 20.5})
    service.learn()
    for _ in range(11):
        service.ask("loud")
    refusal(service, "loud")
    for _ in range(5):
        service.ask("quiet")
    refusal(service, "quiet")


def test_a_tenant_may_hold_as_many_places_as_it_leaves_free() -> None:
    service = Service(max_waiting=10)
    service.ask("quiet")
    for _ in range(5):
        service.ask("loud")
    refusal(service, "loud")
    service.ask("quiet")
    service.ask("third", sequences=3)  # its first may take all that is left
    refusal(service, "fourth", sequences=3)
    assert service.admission.check(Work("chat", "fourth", 2)) is None


def test_a_tenant_that_is_alone_may_hold_all_places() -> None:
    service = Service(max_waiting=10)
    for _ in range(10):
        service.ask("alone")
    refusal(service, "alone")


def test_an_idle_service_takes_whatever_would_take_too_long_by_itself() -> None:
    service = Service({"chat": 1.0})
    service.learn()
    service.ask(tokens=100_000, sequences=32)


def test_a_slow_machine_has_objectives_of_its_own() -> None:
    service = Service({"chat": 0.5})
    service.admission.measured(2.0, 200)
    assert service.admission.due("chat") == 10.0
    assert fill(service) == 6


def test_the_warm_up_tells_the_pace_until_something_was_answered() -> None:
    service = Service({"chat": 10.0})
    service.admission.measured(0.4, 400)  # ten times as fast as it is
    assert fill(service) == 32  # of 51 that half of the objective would take
    service = Service({"chat": 10.0})
    service.learn()
    service.admission.measured(0.4, 400)  # another process
    assert fill(service) == 6


def test_what_ended_without_an_answer_waits_no_more_and_tells_nothing() -> None:
    service = Service({"chat": 10.0})
    service.learn()
    numbers = [service.ask() for _ in range(6)]
    assert fill(service) == 0
    service.now += 1000.0
    for number in numbers:
        service.admission.ended(number)
    service.now += 100.0
    assert fill(service) == 6


def test_a_long_silence_is_no_pace() -> None:
    """An engine that was replaced did not become slow by it."""
    service = Service({"chat": 200.0})
    service.learn()
    service.answer(service.ask(), seconds=3600.0)
    service.now += 10.0
    for _ in range(40):
        service.ask()


def test_answers_that_come_together_are_no_pace_of_nothing() -> None:
    """Eight after each eight seconds are one a second, though seven of them come after no time at all."""
    service = Service({"chat": 40.0})
    service.learn()
    step = StepStats(sequences=8, tokens=512, seconds=8.0, phase="prefill")
    for _ in range(50):
        service.admission.stepped(step)
        together = [service.ask() for _ in range(8)]
        service.now += 8.0
        for number in together:
            service.answer(number, seconds=0.0)
            service.admission.ended(number)
    assert 20 <= fill(service) <= 23


def test_a_long_queue_of_another_tenant_shortens_nobodys_wait() -> None:
    """Ten of one's own and as many of the other are ahead of the last, which are no long queue; forty would be."""
    service = Service({"chat": 40.0, "completion": 400.0})
    service.learn()
    for _ in range(40):
        service.ask("loud", task="completion")
    assert fill(service, tenant="quiet") == 10


def test_those_who_are_refused_are_spread_over_the_time_that_they_would_take() -> None:
    service = Service({"chat": 19.0})
    service.learn()
    for _ in range(10):
        service.ask()
    first = refusal(service)
    for _ in range(28):
        last = refusal(service)
    assert 1.0 <= first <= 4.5
    assert 29.0 <= last <= 60.0
    for _ in range(1000):
        last = refusal(service)
    assert last <= 90.0


def test_those_who_come_together_do_not_all_find_the_same_places_free() -> None:
    service = Service({"chat": 19.0})
    service.learn()
    places = []
    with pytest.raises(Overloaded):
        for _ in range(100):
            places.append(service.admission.enter("chat", ""))
    assert len(places) == 10
    places[0]()
    places[0]()  # again does nothing
    service.ask()
    refusal(service)
    for place in places:
        place()
    assert fill(service) == 9


def flooded(service: Service, sequences: int) -> list[int]:
    """So many are open, the last without an answer, and many others were refused."""
    numbers = [service.ask(tokens=0)]
    for _ in range(sequences - 1):
        numbers.append(service.ask(tokens=0))
        service.answer(numbers[-2], seconds=0.01)
    for _ in range(20):
        refusal(service, tokens=10_000, sequences=1000)
    return numbers


def stepped(service: Service, sequences: int, milliseconds: float) -> None:
    """Steps of so many sequences, each a token."""
    stats = StepStats(sequences=sequences, tokens=sequences, seconds=milliseconds / 1e3)
    prompts = StepStats(sequences=sequences, tokens=512, seconds=milliseconds / 1e3, phase="prefill")
    for _ in range(200):
        service.admission.stepped(stats)
        service.admission.stepped(prompts)  # tells nothing of what another sequence gains


def test_no_more_are_open_in_a_flood_than_are_worth_it() -> None:
    service = Service({"chat": 2.0})
    service.learn()
    for sequences in (1, 2, 4, 8, 16):
        stepped(service, sequences, milliseconds=1.0 + sequences)
    numbers = flooded(service, sequences=12)
    refusal(service, tokens=0)
    for number in numbers[:2]:
        service.admission.ended(number)
    service.ask(tokens=0)
    refusal(service, tokens=0)
    service.now += 2.1  # the flood is over
    service.ask(tokens=0)


def test_what_is_worth_being_open_is_shared_by_those_who_flood() -> None:
    service = Service({"chat": 2.0})
    service.learn()
    for sequences in (1, 2, 4, 8, 16):
        stepped(service, sequences, milliseconds=1.0 + sequences)
    flooded(service, sequences=12)
    refusal(service, tokens=0)
    for _ in range(20):
        refusal(service, "other", tokens=10_000, sequences=1000)
    for _ in range(6):
        number = service.ask("other", tokens=0)
        service.answer(number, seconds=0.0)
    refusal(service, "other", tokens=0)


def test_who_stays_within_its_share_does_not_pay_for_a_neighbours_flood() -> None:
    service = Service({"chat": 40.0})
    service.learn()
    for _ in range(60):
        with suppress(Overloaded):
            service.ask("loud")
    refusal(service, "loud")
    for _ in range(5):  # under a flood of its own it would be one answer at most, its neighbour's among them
        service.ask("quiet")


def test_who_floods_has_what_those_who_do_not_leave_and_half_of_its_share_at_least() -> None:
    service = Service({"chat": 2.0})
    service.learn()
    for sequences in (1, 2, 4, 8, 16):
        stepped(service, sequences, milliseconds=1.0 + sequences)
    loud = flooded(service, sequences=8)  # eleven are worth being open
    quiet = []
    for open_ in range(1, 21):
        quiet.append(service.ask("quiet", tokens=0))
        service.answer(quiet[-1], seconds=0.0)
        if open_ == 6:
            for number in loud[:3]:
                refusal(service, tokens=0)
                service.admission.ended(number)
            refusal(service, tokens=0)  # five are open, and six of the other
            service.admission.ended(loud[3])
            service.ask(tokens=0)
    refusal(service, tokens=0)
    service.admission.ended(loud[4])
    refusal(service, tokens=0)
    service.admission.ended(loud[5])
    refusal(service, tokens=0)
    service.admission.ended(loud[6])
    service.ask(tokens=0)  # as its third, whatever the other has


def test_where_more_always_do_more_any_number_is_worth_it() -> None:
    service = Service({"chat": 2.0})
    service.learn()
    for sequences in (1, 2, 4, 8, 16):
        stepped(service, sequences, milliseconds=100.0 + sequences)
    flooded(service, sequences=40)
    service.ask(tokens=0)
