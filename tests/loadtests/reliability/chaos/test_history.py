"""What a client saw is read as it was sent, and its fate follows from it."""

import pytest

from loadtests.reliability.chaos.history import (
    Event,
    EventKind,
    Exchange,
    Fate,
    Fault,
    StreamReader,
    events_of,
    serving_again,
)

STREAM = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b": keep-alive\n\n"
    b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}],"usage":{"completion_tokens":1}}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_read_wherever_it_is_cut(size: int) -> None:
    reader, found = StreamReader(), list[Event]()
    for start in range(0, len(STREAM), size):
        found += reader.feed(1.0, STREAM[start : start + size])
    assert [(event.kind, event.value) for event in found] == [
        ("text", "Hi"),
        ("tokens", "1"),
        ("finish", "stop"),
        ("done", ""),
    ]


def test_an_error_is_read_with_its_code() -> None:
    body = b'{"error": {"message": "m", "type": "t", "param": null, "code": "engine_restarting"}}'
    assert events_of(1.0, body) == [Event(1.0, "error", "engine_restarting")]


@pytest.mark.parametrize(
    ("events", "stream", "fate"),
    [
        ([("status", "200"), ("done", ""), ("end", "")], True, "completed"),
        ([("status", "200"), ("end", "")], True, "lost"),
        ([("status", "200"), ("end", "")], False, "completed"),
        ([("status", "200"), ("done", ""), ("cut", "")], True, "lost"),
        ([("status", "200"), ("error", "x"), ("end", "")], True, "failed"),
        ([("status", "500"), ("error", "x"), ("end", "")], False, "failed"),
        ([("status", "503"), ("error", "x"), ("end", "")], True, "refused"),
        ([("status", "401"), ("end", "")], True, "refused"),
        ([("status", "500"), ("end", "")], False, "lost"),
        ([("status", "200"), ("left", "")], True, "cancelled"),
        ([("silent", "TimeoutError")], True, "lost"),
        ([("unreached", "")], True, "unreached"),
        ([], True, "lost"),
    ],
)
def test_the_fate_follows(events: list[tuple[EventKind, str]], stream: bool, fate: Fate) -> None:
    exchange = Exchange("t", "q", stream, 1, 0.0, [Event(1.0, kind, value) for kind, value in events])
    assert exchange.fate == fate


def told(began: float, *texts: float) -> Exchange:
    """A stream with texts at these instants."""
    return Exchange("t", "q", True, 8, began, [Event(at, "text", "word ") for at in texts])


@pytest.mark.parametrize(
    ("seen", "serving"),
    [
        ([told(9.0, 9.5, 14.0, 14.1)], 14.0),  # an interrupted stream goes on
        ([told(9.0, 9.5, 14.0), told(12.0, 13.0)], 13.0),  # one that was sent later is first
        ([told(9.0, 9.5, 12.01, 16.0)], 16.0),  # the lost engine's last word was on its way
        ([told(9.0, 9.5)], None),
        ([Exchange("t", "q", True, 8, 13.0, [Event(13.1, "status", "503"), Event(13.1, "end")])], None),
    ],
)
def test_serving_again_is_a_text_of_the_other_engine(seen: list[Exchange], serving: float | None) -> None:
    assert serving_again(seen, Fault("kill", 10.0, replaced=12.0)) == serving


def test_without_another_engine_nobody_is_served() -> None:
    assert serving_again([told(9.0, 14.0)], Fault("kill", 10.0)) is None
