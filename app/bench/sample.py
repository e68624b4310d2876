"""What is known of one request, and its file: one JSON object a line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from app.bench.client import Timeline
from app.observation import Task

Outcome = Literal["ok", "error", "left"]
"""`left`: the client went away, as it was told to; such a request is neither good nor bad."""


class Sample(msgspec.Struct, omit_defaults=True):
    """One request. Seconds throughout; `first`, `total` and `lag` count from the instant at which it was due.

    In a closed loop a request is due when it is sent. In an open loop it is due by the clock, so that a wait which kept
    the client from sending is in its latency.

    Attributes:
        kind: what was asked, such as "short chat".
        stage: requests a second (open loop) or users (closed loop) when it was due.
        due: since the run began.
        lag: by how much the client itself was late: to send it, or to wake up when it was sent.
        first: to the first text; None where none came.
        total: to the end of the answer.
        gaps: between the arrivals of texts that follow each other.
        per_token: mean gap between its tokens; None for fewer than two.
        error: in one line, with the outcome "error".
    """

    kind: str
    task: Task
    stage: float
    due: float
    lag: float
    outcome: Outcome = "ok"
    first: float | None = None
    total: float = 0.0
    gaps: list[float] = []
    per_token: float | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    error: str = ""

    @property
    def ended(self) -> float:
        """Seconds since the run began."""
        return self.due + self.total

    def fail(self, error: str) -> None:
        """It was not answered, for this reason."""
        self.outcome, self.error = "error", error

    def note(self, timeline: Timeline, due: float) -> None:
        """Take what a stream that was due at an instant of the timeline's clock has shown."""
        if timeline.texts:
            self.first = timeline.texts[0] - due
        self.gaps = [round(gap, 7) for gap in timeline.gaps]
        # Where a server counts no tokens, its texts stand for them.
        self.tokens = timeline.tokens or len(timeline.texts)
        self.prompt_tokens = timeline.prompt_tokens
        if self.tokens > 1 and timeline.texts:
            self.per_token = (timeline.texts[-1] - timeline.texts[0]) / (self.tokens - 1)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sample).decode


def as_line(sample: Sample) -> bytes:
    """The sample's line, with its end."""
    return _encode(sample) + b"\n"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write a file of samples.

    Raises:
        OSError: it cannot be written.
    """
    path.write_bytes(b"".join(map(as_line, samples)))


def read_samples(path: Path) -> list[Sample]:
    """Read a file of samples.

    Raises:
        OSError: it cannot be read.
        msgspec.DecodeError: a line is no sample.
    """
    return [_decode(line) for line in path.read_bytes().splitlines()]
