"""The history checker: what must hold of a recorded run, whatever was done to the service.

Each rule is a function that gives one line for each violation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.reliability.chaos.history import ENDS, Answer, Exchange, Fate, Fault, FaultKind, Probe

DETECTED_SECONDS = 0.25
"""After a killed engine readiness may be claimed for so long."""
STUCK_SECONDS = 3.0
"""After an engine stopped, the same."""
FIRST_ANSWER_SECONDS = 1.0
"""After a claim of readiness, somebody who asks has the beginning of an answer within so long."""
SETTLE_SECONDS = 2.0
"""After a service is ready again, or a burst is over, refusals and failures may still come of it for so long."""
_OUTCOMES: dict[Fate, tuple[str, ...]] = {
    "completed": ("ok",),
    "refused": ("rejected",),
    "failed": ("error", "timeout"),
    "cancelled": ("cancelled",),
}
_HARMFUL: frozenset[FaultKind] = frozenset({"kill", "hang", "burst", "descriptors", "drain"})
"""What good traffic may suffer from, with an error or a refusal; never in silence."""


@dataclass(frozen=True)
class Counted:
    """What the service counted for one tenant.

    Attributes:
        requests: by outcome.
        tokens: generated.
    """

    requests: Mapping[str, int]
    tokens: int


def ended_once(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Every request has one end, and nothing comes after it."""
    for exchange in exchanges:
        kinds = [event.kind for event in exchange.events]
        ends = sum(kind in ENDS for kind in kinds)
        if ends != 1:
            yield f"{_name(exchange)} has {ends} ends"
        elif kinds[-1] not in ENDS:
            yield f"{_name(exchange)} has something after its end: {kinds[-1]}"


def never_silent(exchanges: Iterable[Exchange], faults: Sequence[Fault]) -> Iterator[str]:
    """No answer is cut short, or stays away, without a word.

    Without descriptors a server can take no connection, and so answers nothing; within an answer it has no excuse.
    """
    for exchange in exchanges:
        if exchange.fate == "unreached" and not _meets(exchange, faults, {"drain"}):
            yield f"{_name(exchange)} found nobody who listens"
        none_taken = exchange.has("cut") and not exchange.status and _meets(exchange, faults, {"descriptors"})
        if exchange.fate == "lost" and not none_taken:
            last = exchange.events[-1].kind if exchange.events else "nothing"
            how = f"{last}, status {exchange.status}, {len(exchange.text)} characters"
            yield f"{_name(exchange)} ended in silence ({how}){_behind(exchange, faults)}"


def done_is_whole(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """`[DONE]` comes once, after the reason of the finish, and only the body's end follows."""
    for exchange in exchanges:
        kinds = [event.kind for event in exchange.events]
        if "done" not in kinds:
            continue
        at = kinds.index("done")
        if "finish" not in kinds[:at]:
            yield f"{_name(exchange)} has [DONE] without a finish reason"
        if "error" in kinds:
            yield f"{_name(exchange)} has [DONE] and an error"
        if [kind for kind in kinds[at + 1 :] if kind not in ENDS]:
            yield f"{_name(exchange)} goes on after [DONE]: {kinds[at + 1]}"


def text_is_true(exchanges: Iterable[Exchange], answers: Mapping[str, Answer]) -> Iterator[str]:
    """What was said is the beginning of the fault-free answer; a completed one is all of it."""
    for exchange in exchanges:
        if exchange.question not in answers or exchange.fate == "refused":
            continue
        answer, said = answers[exchange.question].text, exchange.text
        if not answer.startswith(said):
            at = next(i for i, (a, b) in enumerate(zip(said, answer + "\0", strict=False)) if a != b)
            yield f"{_name(exchange)} differs from the fault-free answer at character {at}"
        elif exchange.fate == "completed" and said != answer:
            yield f"{_name(exchange)} is called whole with {len(said)} of {len(answer)} characters"


def tokens_are_true(exchanges: Iterable[Exchange], answers: Mapping[str, Answer]) -> Iterator[str]:
    """The usage so far only grows, and that of a completed answer is the fault-free one's."""
    for exchange in exchanges:
        told = [int(event.value) for event in exchange.events if event.kind == "tokens"]
        if told != sorted(told):
            yield f"{_name(exchange)} takes tokens back"
        answer = answers.get(exchange.question)
        if answer and exchange.fate == "completed" and exchange.tokens != answer.tokens:
            yield f"{_name(exchange)} counts {exchange.tokens} tokens for {answer.tokens}"


def refusals_say_when(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """A 429 and a 503 carry whole seconds, at least one, in `Retry-After`."""
    for exchange in exchanges:
        if exchange.status in (429, 503) and not (
            exchange.retry_after.isdecimal() and int(exchange.retry_after) >= 1
        ):
            yield f"{_name(exchange)} was refused with Retry-After {exchange.retry_after!r}"


def unprovoked(exchanges: Iterable[Exchange], faults: Sequence[Fault]) -> Iterator[str]:
    """Good traffic is refused or failed only by a fault that may do that, while it lasts."""
    for exchange in exchanges:
        if exchange.fate in ("refused", "failed") and not _meets(exchange, faults, _HARMFUL):
            codes = [event.value for event in exchange.events if event.kind == "error"]
            what = f"{exchange.status} {' '.join(codes)}".strip()
            yield f"{_name(exchange)} got {what} though nothing hurt it{_behind(exchange, faults)}"


def counts_agree(exchanges: Sequence[Exchange], counted: Counted) -> Iterator[str]:
    """Completed, refused, failed and cancelled are as many for the clients as for the service; so are tokens.

    A client that leaves may find the answer ended already; a request that reached nobody is counted by nobody.
    """
    left = sum(exchange.fate == "cancelled" for exchange in exchanges)
    for fate, outcomes in _OUTCOMES.items():
        seen = sum(exchange.fate == fate for exchange in exchanges)
        told = sum(counted.requests.get(outcome, 0) for outcome in outcomes)
        least, most = (0, left) if fate == "cancelled" else (seen, seen + left)
        if not least <= told <= most:
            yield f"{fate}: clients saw {seen}, the service counted {told}"
    told = sum(counted.requests.values())
    reached = sum(exchange.fate not in ("lost", "unreached") for exchange in exchanges)
    if not reached - left <= told <= reached:
        yield f"clients sent {reached}, the service counted {told}"
    streamed = sum(exchange.tokens for exchange in exchanges)
    unknown = sum(
        exchange.most_tokens - exchange.tokens
        for exchange in exchanges
        if exchange.fate not in ("completed", "refused")
    )
    if not streamed <= counted.tokens <= streamed + unknown:
        yield f"clients got {streamed} tokens, the service counted {counted.tokens}"


def nonsense_is_refused(exchanges: Iterable[Exchange], faults: Sequence[Fault]) -> Iterator[str]:
    """What nobody may ask is a 4xx, no 500 and no answer; a 503, unread, only where good requests may get one, too.

    Whether it may have no answer at all is another rule's.
    """
    for exchange in exchanges:
        unread = exchange.status == 503 and _meets(exchange, faults, _HARMFUL)
        refused = 400 <= exchange.status < 500 or unread
        if exchange.question.startswith("bad") and exchange.status and not refused:
            yield f"{_name(exchange)} got {exchange.status}"


def drained_whole(exchanges: Iterable[Exchange], drain: Fault) -> Iterator[str]:
    """No answer that was open when the drain began, or was still taken, is broken off: each would fit its time.

    What waited for its turn then was let in as well, unless it is refused as soon as it was sent.
    """
    for exchange in exchanges:
        if exchange.ended < drain.began:
            continue
        if exchange.fate == "failed":
            yield f"{_name(exchange)} was broken off by the drain after {len(exchange.text)} characters"
        elif exchange.began < drain.began and exchange.refused_late:
            took = exchange.ended - exchange.began
            yield f"{_name(exchange)} had been let in, and was refused by the drain after {took:.2f} s"


def readiness_is_true(probes: Iterable[Probe], faults: Sequence[Fault]) -> Iterator[str]:
    """`/readyz` does not claim what is not so: an engine that is gone, stands still, or does not answer yet."""
    grace = {"kill": DETECTED_SECONDS, "hang": STUCK_SECONDS}
    gone = [
        (fault.kind, fault.began, fault.began + grace[fault.kind], _able(fault))
        for fault in faults
        if fault.kind in grace
    ]
    for probe in probes:
        for kind, began, since, until in gone:
            if probe.ready and probe.sent > since and (until is None or probe.got < until):
                yield f"ready {probe.sent - began:.2f} s after a {kind}, and no other engine served"


def _able(fault: Fault) -> float | None:
    """From when on it may be called ready: a little before the first text of the other engine, which must be there."""
    if fault.replaced is None or fault.serving is None:
        return None
    return max(fault.replaced, fault.serving - FIRST_ANSWER_SECONDS)


def _meets(exchange: Exchange, faults: Iterable[Fault], kinds: Iterable[FaultKind]) -> bool:
    """Whether a fault of these kinds, or what comes of it, overlaps with the request."""
    return any(
        fault.kind in kinds
        and exchange.ended >= fault.began
        and (not fault.ended or exchange.began <= fault.ended + SETTLE_SECONDS)
        for fault in faults
    )


def _behind(exchange: Exchange, faults: Iterable[Fault]) -> str:
    """How long after the beginning of the last fault it ended."""
    before = [fault for fault in faults if fault.began <= exchange.ended]
    if not before:
        return ""
    last = max(before, key=lambda fault: fault.began)
    return f", {exchange.ended - last.began:.2f} s after the beginning of {last.kind}"


def _name(exchange: Exchange) -> str:
    return f"{exchange.tenant}, {exchange.question} at {exchange.began:.2f}"
