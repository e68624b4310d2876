"""One request that a load is made of, and what becomes of it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.bench.client import Timeline, UsageWish, stream
from app.bench.http_stream import Connections, RequestFailed, post
from app.bench.sample import Sample
from app.observation import Task

CHAT_PATH = "/chat/completions"
COMPLETION_PATH = "/completions"


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        kind: its name in tables.
        path: below the base address that ends with `/v1`.
        leave_after: texts after which the client goes away; None stays.
        answered: called with the whole text of the answer, or with None where there was none.
    """

    kind: str
    task: Task
    path: str
    body: dict[str, Any]
    leave_after: int | None = None
    answered: Callable[[str | None], None] = lambda _: None

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream; decisions are whole bodies."""
        return self.task != "decision"


@dataclass
class Server:
    """Where requests go.

    Attributes:
        base: with `/v1` at its end.
        limit: seconds after which a request has failed.
    """

    base: str
    connections: Connections = field(default_factory=Connections)
    limit: float = 60.0
    usage: UsageWish = "needed"

    async def send(
        self,
        ask: Ask,
        stage: float,
        samples: list[Sample],
        began: float,
        lag: float,
        due: float | None = None,
    ) -> None:
        """Send one request and append its sample; a failure is in the sample.

        Args:
            lag: of the client's own loop, seconds.
            began, due: instants on `time.perf_counter`; the run, and when the request should leave (default: now).
        """
        timeline = Timeline(time.perf_counter())
        due = timeline.sent if due is None else due
        sample = Sample(ask.kind, ask.task, stage, due - began, lag=max(lag, timeline.sent - due))
        try:
            async with asyncio.timeout(self.limit):
                await self._exchange(ask, timeline)
        except asyncio.CancelledError:
            sample.fail("Given up.")
            raise
        except TimeoutError:
            sample.fail(f"No whole answer within {self.limit:g} s.")
        except RequestFailed as error:
            sample.fail(str(error))
        except OSError as error:
            sample.fail(f"No connection: {error.strerror or error}")
        else:
            sample.outcome = "left" if ask.leave_after is not None else "ok"
        finally:
            sample.total = (timeline.ended or time.perf_counter()) - due
            sample.note(timeline, due)
            samples.append(sample)
            ask.answered("".join(timeline.said) if sample.outcome == "ok" else None)

    async def _exchange(self, ask: Ask, timeline: Timeline) -> None:
        url = self.base + ask.path
        if ask.is_stream:
            leave = ask.leave_after
            await stream(url, ask.body, timeline, self.connections, usage=self.usage, leave_after=leave)
        else:
            await post(url, msgspec.json.encode(ask.body), self.connections)
            timeline.ended = time.perf_counter()

    async def models(self) -> list[str]:
        """What the server serves.

        Raises:
            RequestFailed: it does not say.
            OSError: there is no connection.
        """
        body = await post(f"{self.base}/models", None, self.connections)
        try:
            return [model.id for model in msgspec.json.decode(body, type=_Models).data]
        except msgspec.DecodeError as error:
            raise RequestFailed("GET /models gives no list of models.") from error


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
