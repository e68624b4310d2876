"""Recovery: everybody goes on once; then one after another, until the request that ends processes is found."""

from collections.abc import Callable

import pytest

from app.engine.messages import AddRequest
from app.engine.open_request import OpenRequest
from app.engine.recovery import QUARANTINE_SECONDS, Recovery
from app.engine.stream import RequestStream


class Processes:
    """A process after another, each ended by some of what it is given."""

    def __init__(self, poison: Callable[[list[OpenRequest]], bool]) -> None:
        self.now = 0.0
        self.sent: list[OpenRequest] = []
        self.poison = poison
        self.recovery = Recovery(self.sent.append, lambda: self.now)
        self.deaths = 0

    def run(self, requests: list[OpenRequest]) -> list[OpenRequest]:
        """Let requests run until all have ended or were blamed; returns the blamed ones."""
        left, blamed = list(requests), list[OpenRequest]()
        self.sent.extend(left)
        while left:
            running = [request for request in left if request.sent]
            if self.poison(running):
                self.deaths += 1
                culprit = self.recovery.process_ended(left)
                if culprit is not None:
                    left.remove(culprit)
                    blamed.append(culprit)
                self.recovery.process_ready(left)
                continue
            for request in running:
                self.recovery.heard_of(request, ended=False)
            if not self.recovery.in_trial:
                left = [request for request in left if not request.sent]
            else:
                ended = running[-1]
                left.remove(ended)
                self.recovery.heard_of(ended, ended=True)
        return blamed


def request_of(number: int) -> OpenRequest:
    stream = RequestStream(number, lambda identifier, reason: None)
    return OpenRequest(AddRequest(id=number, prompt=[number, 7]), stream, "chat")


REQUESTS = range(6)


def test_one_end_is_nobodys_fault() -> None:
    once = iter([True])
    processes = Processes(lambda running: next(once, False))
    requests = [request_of(number) for number in REQUESTS]
    assert processes.run(requests) == []
    assert processes.sent == requests * 2
    assert not processes.recovery.in_trial


@pytest.mark.parametrize("culprit", REQUESTS)
def test_the_culprit_is_found_in_four_ends(culprit: int) -> None:
    processes = Processes(lambda running: any(request.added.id == culprit for request in running))
    blamed = processes.run([request_of(number) for number in REQUESTS])
    assert [request.added.id for request in blamed] == [culprit]
    assert processes.deaths <= 4


def test_a_culprit_that_first_says_something_is_found_too() -> None:
    recovery = Recovery(lambda request: None)
    late, innocent = request_of(1), request_of(2)
    both = [late, innocent]
    for _ in range(2):
        assert recovery.process_ended(both) is None
        recovery.process_ready(both)
    assert (late.sent, innocent.sent) == (True, False)
    recovery.heard_of(late, ended=False)
    assert innocent.sent
    assert recovery.process_ended(both) is None  # either may have been it
    recovery.process_ready(both)
    recovery.heard_of(late, ended=False)  # is not enough any more
    assert not innocent.sent
    assert recovery.process_ended(both) is late


def test_those_without_suspicion_wait_until_the_trials_are_over() -> None:
    processes = Processes(lambda running: False)
    suspect, newcomer = request_of(1), request_of(2)
    suspect.deaths = 1
    assert processes.recovery.process_ended([suspect, newcomer]) is None
    processes.recovery.process_ready([newcomer, suspect])
    assert (suspect.sent, newcomer.sent, processes.recovery.in_trial) == (True, False, True)
    processes.recovery.heard_of(suspect, ended=False)
    assert newcomer.sent and not processes.recovery.in_trial


def test_one_whose_reader_left_is_not_given_to_the_process() -> None:
    processes = Processes(lambda running: False)
    requests = [request_of(number) for number in (1, 2, 3)]
    for request in requests:
        request.deaths = 1
    processes.recovery.process_ended(requests)
    processes.recovery.process_ready(requests)
    processes.recovery.heard_of(requests[1], ended=True)
    processes.recovery.heard_of(requests[0], ended=False)
    assert [request.sent for request in requests] == [True, False, True]


def test_a_prompt_that_is_found_twice_is_refused_for_a_while() -> None:
    processes = Processes(lambda running: any(request.added.id == 1 for request in running))
    processes.run([request_of(1), request_of(2)])
    assert not processes.recovery.is_quarantined([1, 7])
    processes.run([request_of(1)])
    assert processes.recovery.is_quarantined([1, 7])
    assert not processes.recovery.is_quarantined([2, 7])
    processes.now += QUARANTINE_SECONDS + 1
    assert not processes.recovery.is_quarantined([1, 7])


def test_what_a_new_process_is_told() -> None:
    request = request_of(1)
    request.tokens = [8, 9]
    request.submitted_at -= 10
    again = request.again()
    assert (again.said, again.timeout) == ([8, 9], None)
    request.added = AddRequest(id=1, prompt=[1], timeout=30.0)
    assert request.again().timeout == pytest.approx(20, abs=1)
