"""What clients, a probe and the one who injects faults wrote down; instants are seconds on `time.monotonic`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from app.bench.events import Events
from loadtests.reliability.refusal import AT_ONCE_SECONDS

EventKind = Literal[
    "status", "text", "tokens", "finish", "error", "done", "end", "cut", "left", "silent", "unreached"
]
"""`tokens` is the usage so far; `end` the body's own end, `cut` the connection's instead, `left` the client's;
`silent`: the client gave up; `unreached`: nobody listens."""
ENDS = frozenset({"end", "cut", "left", "silent", "unreached"})
Fate = Literal["completed", "refused", "failed", "cancelled", "lost", "unreached"]
"""`failed` is told, as an error; `lost` ended without a word, or never."""


@dataclass(frozen=True)
class Event:
    """Something that a client saw."""

    at: float
    kind: EventKind
    value: str = ""


@dataclass
class Exchange:
    """One request.

    Attributes:
        tenant: whose key it carried.
        question: the name under which the fault-free answer is known.
        stream: the answer was to be a stream.
        most_tokens: that may be generated for it.
        retry_after: as the server wrote it.
    """

    tenant: str
    question: str
    stream: bool
    most_tokens: int
    began: float
    events: list[Event] = field(default_factory=list)
    retry_after: str = ""

    @property
    def ended(self) -> float:
        """Instant of its last event; of its beginning where there is none."""
        return self.events[-1].at if self.events else self.began

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(event.value for event in self.events if event.kind == "text")

    @property
    def tokens(self) -> int:
        """The last usage that was told."""
        return max((int(event.value) for event in self.events if event.kind == "tokens"), default=0)

    @property
    def status(self) -> int:
        """0 where none came."""
        return next((int(event.value) for event in self.events if event.kind == "status"), 0)

    def has(self, kind: EventKind) -> bool:
        """Whether it has an event of a kind."""
        return any(event.kind == kind for event in self.events)

    @property
    def refused_late(self) -> bool:
        """Whether it was let in, waited, and was sent away all the same."""
        return self.status in (429, 503) and self.ended - self.began > AT_ONCE_SECONDS

    @property
    def fate(self) -> Fate:
        """What became of it."""
        if self.has("left"):
            return "cancelled"
        if self.has("unreached"):
            return "unreached"
        if self.status in (429, 503) or 400 <= self.status < 500:
            return "refused"
        if self.has("error"):
            return "failed"
        whole = self.has("end") and self.status == 200
        return "completed" if whole and (self.has("done") or not self.stream) else "lost"


@dataclass(frozen=True)
class Answer:
    """What a question is answered without faults."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Probe:
    """One look at `/readyz`; `ready` is None where nothing answered."""

    sent: float
    got: float
    ready: bool | None


_ON_ITS_WAY_SECONDS = 0.1
"""After another process was seen a client may still read what the lost one had said; the other one takes longer to
load its model."""

FaultKind = Literal[
    "kill", "hang", "stall", "slow", "leave", "burst", "log", "descriptors", "clock", "bad", "drain"
]


@dataclass
class Fault:
    """One fault, while it lasted and until its traces were gone.

    Attributes:
        ended: 0 while it lasts.
        replaced: when another engine process was seen.
        serving: when a client got the first text that only another engine process can have said.
        note: what it did, for the log.
    """

    kind: FaultKind
    began: float
    ended: float = 0.0
    replaced: float | None = None
    serving: float | None = None
    note: str = ""


def serving_again(exchanges: Iterable[Exchange], fault: Fault) -> float | None:
    """When the first text came from the engine process that replaced a lost one; None where none did.

    It may be the beginning of an answer, a whole decision, or how an interrupted stream goes on.
    """
    if fault.replaced is None:
        return None
    since = fault.replaced + _ON_ITS_WAY_SECONDS
    texts = (event.at for one in exchanges for event in one.events if event.kind == "text")
    return min((at for at in texts if at > since), default=None)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Error(msgspec.Struct):
    code: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Body).decode


class StreamReader:
    """Turns the pieces of a stream into events."""

    def __init__(self) -> None:
        self._events = Events()

    def feed(self, at: float, piece: bytes) -> list[Event]:
        """The events that a piece completes.

        Raises:
            msgspec.DecodeError: one is no chunk.
        """
        found = []
        for data in self._events.feed(piece):
            found += [Event(at, "done")] if data == b"[DONE]" else events_of(at, data)
        return found


def events_of(at: float, body: bytes) -> list[Event]:
    """What a chunk, or a whole answer, tells.

    Raises:
        msgspec.DecodeError: it is none.
    """
    read = _decode(body)
    found = []
    for choice in read.choices:
        said = choice.delta or choice.message
        if said and said.content:
            found.append(Event(at, "text", said.content))
        if choice.finish_reason:
            found.append(Event(at, "finish", choice.finish_reason))
    if read.usage:
        found.append(Event(at, "tokens", str(read.usage.completion_tokens)))
    if read.error:
        found.append(Event(at, "error", read.error.code or "unnamed"))
    return found
