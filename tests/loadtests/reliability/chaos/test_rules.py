"""The history checker sees each violation that is planted in a history without any."""

from dataclasses import replace
from typing import Any

import pytest

from loadtests.reliability.chaos import rules
from loadtests.reliability.chaos.history import Answer, Event, EventKind, Exchange, Fault, Probe
from loadtests.reliability.chaos.rules import Counted

ANSWERS = {"q": Answer("Hello there.", 3)}


def exchange(*events: tuple[EventKind, str] | EventKind, began: float = 10.0, **fields: Any) -> Exchange:
    """A streamed one; its events are a tenth of a second apart."""
    pairs = [(event, "") if isinstance(event, str) else event for event in events]
    listed = [Event(began + number / 10, kind, value) for number, (kind, value) in enumerate(pairs, 1)]
    return replace(Exchange("good", "q", True, 8, began, listed), **fields)


def whole(**fields: Any) -> Exchange:
    """One that was answered as it should be."""
    return exchange(
        ("status", "200"),
        ("text", "Hello"),
        ("tokens", "1"),
        ("text", " there."),
        ("tokens", "3"),
        ("finish", "stop"),
        "done",
        "end",
        **fields,
    )


def refused(retry_after: str = "2", **fields: Any) -> Exchange:
    """One that got a 503."""
    return exchange(
        ("status", "503"), ("error", "engine_restarting"), "end", retry_after=retry_after, **fields
    )


FAILED = exchange(("status", "200"), ("text", "Hel"), ("tokens", "1"), ("error", "internal_error"), "end")
CUT = exchange(("status", "200"), ("text", "Hel"), "cut")
LEFT = exchange(("status", "200"), ("text", "Hel"), ("tokens", "1"), "left")
KILL = Fault("kill", 9.0, 12.0, replaced=11.0, serving=12.0)
ALL = [whole(), refused(), FAILED, LEFT]


def test_an_honest_history_breaks_no_rule() -> None:
    counted = Counted({"ok": 1, "rejected": 1, "error": 1, "cancelled": 1}, 5)
    found = [
        *rules.ended_once(ALL),
        *rules.never_silent(ALL, []),
        *rules.done_is_whole(ALL),
        *rules.text_is_true(ALL, ANSWERS),
        *rules.tokens_are_true(ALL, ANSWERS),
        *rules.refusals_say_when(ALL),
        *rules.unprovoked(ALL, [KILL]),
        *rules.nonsense_is_refused(ALL, [KILL]),
        *rules.counts_agree(ALL, counted),
    ]
    assert found == []


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([], "0 ends"),
        ([("status", "200")], "0 ends"),
        ([("status", "200"), "end", "end"], "2 ends"),
        ([("status", "200"), "end", "cut"], "2 ends"),
        ([("status", "200"), "end", ("text", "more")], "after its end: text"),
    ],
)
def test_a_request_has_one_end_and_nothing_after_it(events: list[EventKind], what: str) -> None:
    (line,) = rules.ended_once([whole(), exchange(*events)])
    assert what in line


@pytest.mark.parametrize(
    "lost",
    [
        CUT,
        exchange(("status", "200"), ("text", "Hello there."), ("finish", "stop"), "end"),
        exchange(("status", "200"), ("text", "Hel"), "silent"),
        exchange("cut"),
        exchange("unreached"),
        exchange(("status", "200"), "cut", stream=False),
        exchange(),
    ],
)
def test_a_silent_truncation_is_seen(lost: Exchange) -> None:
    assert len(list(rules.never_silent([whole(), lost, FAILED], [KILL]))) == 1


def test_without_descriptors_no_connection_is_taken_and_after_a_drain_nobody_listens() -> None:
    starved = [Fault("descriptors", 9.0, 11.0)]
    assert not list(rules.never_silent([exchange("cut")], starved))
    assert len(list(rules.never_silent([CUT], starved))) == 1  # it was taken
    assert not list(rules.never_silent([exchange("unreached")], [Fault("drain", 9.0)]))
    assert len(list(rules.never_silent([exchange("cut")], [Fault("drain", 9.0)]))) == 1


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([("text", "Hel"), "done", "end"], "without a finish reason"),
        ([("finish", "stop"), ("error", "internal_error"), "done", "end"], "and an error"),
        ([("finish", "stop"), "done", ("text", "more"), "end"], "goes on after [DONE]: text"),
        ([("finish", "stop"), "done", "done", "end"], "goes on after [DONE]: done"),
    ],
)
def test_done_proves_a_whole_answer(events: list[EventKind], what: str) -> None:
    (line,) = rules.done_is_whole([whole(), exchange(("status", "200"), *events)])
    assert what in line


def test_another_text_is_seen_and_one_that_is_too_short() -> None:
    other = exchange(("status", "200"), ("text", "Help"), "left")
    longer = exchange(("status", "200"), ("text", "Hello there. And"), "left")
    short = exchange(("status", "200"), ("text", "Hello"), ("finish", "stop"), "done", "end")
    found = list(rules.text_is_true([whole(), other, longer, short], ANSWERS))
    assert [line.partition("10.00 ")[2] for line in found] == [
        "differs from the fault-free answer at character 3",
        "differs from the fault-free answer at character 12",
        "is called whole with 5 of 12 characters",
    ]


def test_tokens_that_shrink_or_are_too_many_are_seen() -> None:
    shrinks = exchange(("status", "200"), ("tokens", "2"), ("tokens", "1"), "left")
    extra = exchange(
        ("status", "200"), ("text", "Hello there."), ("tokens", "4"), ("finish", "stop"), "done", "end"
    )
    found = list(rules.tokens_are_true([whole(), shrinks, extra], ANSWERS))
    assert ["takes tokens back" in found[0], "counts 4 tokens for 3" in found[1]] == [True, True]


@pytest.mark.parametrize("retry_after", ["", "0", "-1", "soon", "1.5"])
def test_a_refusal_without_a_time_is_seen(retry_after: str) -> None:
    assert len(list(rules.refusals_say_when([refused(), refused(retry_after)]))) == 1


def test_good_traffic_that_suffers_from_nothing_is_seen() -> None:
    late = KILL.ended + rules.SETTLE_SECONDS + 1
    harmless = [Fault("clock", 9.0, 20.0), Fault("log", 9.0, 20.0), KILL]
    assert not list(rules.unprovoked([refused(), FAILED], [KILL]))
    assert not list(rules.unprovoked([refused(began=late)], [Fault("burst", 9.0)]))  # it lasts
    assert len(list(rules.unprovoked([refused(began=late)], harmless))) == 1
    assert len(list(rules.unprovoked([refused(began=1.0), FAILED], []))) == 2


@pytest.mark.parametrize("status", ["200", "500"])
def test_nonsense_that_is_not_refused_is_seen(status: str) -> None:
    bad = exchange(("status", status), "end", question="bad 1")
    unread = refused(question="bad 2")
    assert len(list(rules.nonsense_is_refused([whole(), unread, bad], []))) == 2  # a 503 neither
    assert len(list(rules.nonsense_is_refused([whole(), unread, bad], [KILL]))) == 1
    unanswered = exchange("cut", question="bad 3")
    assert not list(rules.nonsense_is_refused([unanswered], [])) and list(
        rules.never_silent([unanswered], [])
    )


def test_an_answer_that_the_drain_breaks_off_is_seen() -> None:
    assert len(list(rules.drained_whole([whole(), FAILED, refused()], Fault("drain", 10.2)))) == 1
    assert not list(rules.drained_whole([FAILED], Fault("drain", 11.0)))  # it was over


def test_what_waited_when_the_drain_began_may_not_be_refused() -> None:
    at_once = refused(began=10.0)
    late = replace(refused(began=10.0), events=[Event(13.0, "status", "503"), Event(13.0, "end")])
    (line,) = rules.drained_whole([at_once, late], Fault("drain", 10.2))
    assert "was refused by the drain after 3.00 s" in line
    assert not list(rules.drained_whole([late], Fault("drain", 9.9)))  # it was sent into the drain
    assert not list(rules.drained_whole([late], Fault("drain", 14.0)))  # the drain is not what refused it


@pytest.mark.parametrize(
    ("counted", "what"),
    [
        (Counted({"ok": 0, "rejected": 1, "error": 1}, 4), "completed: clients saw 1, the service counted 0"),
        (Counted({"ok": 1, "rejected": 0, "error": 1}, 4), "refused: clients saw 1, the service counted 0"),
        (Counted({"ok": 1, "rejected": 1, "timeout": 0}, 4), "failed: clients saw 1, the service counted 0"),
        (
            Counted({"ok": 1, "rejected": 1, "error": 1, "cancelled": 1}, 4),
            "cancelled: clients saw 0, the service counted 1",
        ),
        (Counted({"ok": 1, "rejected": 1, "error": 1}, 3), "clients got 4 tokens, the service counted 3"),
        (Counted({"ok": 1, "rejected": 1, "error": 1}, 12), "clients got 4 tokens, the service counted 12"),
    ],
)
def test_a_count_that_is_off_by_one_is_seen(counted: Counted, what: str) -> None:
    assert what in list(rules.counts_agree([whole(), refused(), FAILED], counted))


def test_without_failures_every_token_is_accounted_for() -> None:
    assert not list(rules.counts_agree([whole(), refused()], Counted({"ok": 1, "rejected": 1}, 3)))
    assert len(list(rules.counts_agree([whole(), refused()], Counted({"ok": 1, "rejected": 1}, 4)))) == 1


@pytest.mark.parametrize("left", ["ok", "cancelled"])
def test_one_that_left_may_have_been_answered(left: str) -> None:
    assert not list(rules.counts_agree([LEFT], Counted({left: 1}, 1)))
    assert list(rules.counts_agree([whole(), LEFT], Counted({"ok": 3}, 6)))


def test_a_lie_about_readiness_is_seen() -> None:
    hang = Fault("hang", 20.0, 30.0, replaced=29.0, serving=29.5)
    honest = [Probe(9.2, 9.21, True), Probe(9.3, 9.31, False), Probe(11.1, 11.11, True)]
    patient = [Probe(22.9, 22.91, True), Probe(23.1, 23.11, False), Probe(25.0, 25.1, None)]
    assert not list(rules.readiness_is_true([*honest, *patient], [KILL, hang]))
    lies = [Probe(9.3, 9.31, True), Probe(10.9, 10.95, True), Probe(23.1, 23.11, True)]
    found = list(rules.readiness_is_true(lies, [KILL, hang]))
    assert ["0.30 s after a kill" in found[0], "3.10 s after a hang" in found[2]] == [True, True]
    assert (
        len(list(rules.readiness_is_true([Probe(99.0, 99.1, True)], [Fault("kill", 9.0)]))) == 1
    )  # never replaced


def test_readiness_without_an_answer_is_a_lie() -> None:
    """The other engine is there from 11 on, and says its first word at 15."""
    slow = Fault("kill", 9.0, 16.0, replaced=11.0, serving=15.0)
    early, soon = Probe(12.0, 12.01, True), Probe(14.1, 14.11, True)
    (line,) = rules.readiness_is_true([early, soon], [slow])
    assert "3.00 s after a kill" in line
    assert len(list(rules.readiness_is_true([soon], [replace(slow, serving=None)]))) == 1  # it never spoke
