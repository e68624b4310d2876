"""One send or receive between API and engine fails, whichever it is: readers get their whole answers, by recovery.

The engine's code runs in a thread, at the other end of a real socketpair: a process would take seconds for each call.
"""

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.engine import supervisor
from app.engine.channel import AsyncChannel, BlockingChannel, open_socketpair
from app.engine.client import AsyncEngine
from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.interface import EngineState
from app.engine.loop import run_engine
from app.engine.messages import (
    Configure,
    FinishReason,
    FromEngine,
    SamplingParams,
    StepOutputs,
    ToEngine,
)
from app.engine.start import _ready
from app.engine.stream import RequestStream
from tests.engine.core.test_engine_core import prompts
from tests.engine.core.test_speculation import config_of, loaded_model
from tests.engine.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio
CONFIG = config_of("llama", quantization="int8", max_batch_tokens=64)
LABELS = [[5, 2], [5, 6, 2], [7, 8, 9, 2], [12]]


class BreakingChannel(BlockingChannel):
    """The engine's end, of which one call fails."""

    def __init__(self, end: socket.socket, fault: "Fault") -> None:
        super().__init__(end)
        self.fault = fault

    def send(self, message: FromEngine) -> None:
        if isinstance(message, StepOutputs):
            return self.fault.at_send(self, message, super().send)
        super().send(message)

    def receive(self, wait: bool) -> list[ToEngine] | None:
        return self.fault.at_receive(lambda: super(BreakingChannel, self).receive(wait))


class Fault:
    """What happens at the k-th call; `calls` counts them, over all engines of a session."""

    def __init__(self, kind: str, k: int) -> None:
        self.kind = kind
        self.k = k
        self.calls = 0

    def due(self, *kinds: str) -> bool:
        if self.kind not in kinds:
            return False
        self.calls += 1
        return self.calls == self.k

    def at_send(
        self, channel: BreakingChannel, message: FromEngine, send: Callable[[FromEngine], None]
    ) -> None:
        if not self.due("lost", "torn", "last", "garbled"):
            return send(message)
        frame = channel._encoder.encode(message)
        whole = len(frame).to_bytes(4, "little") + frame
        match self.kind:
            case "torn":
                channel._socket.sendall(whole[: len(whole) // 2])
            case "last":
                channel._socket.sendall(whole)
            case "garbled":
                return channel._socket.sendall(whole[:4] + bytes(len(frame)))
        raise BrokenPipeError

    def at_receive(self, receive: Callable[[], list[ToEngine] | None]) -> list[ToEngine] | None:
        if self.due("unread"):
            raise ConnectionResetError
        messages = receive()
        if messages and self.due("forgotten"):
            raise ConnectionResetError
        return messages


class EngineThread:
    """In the place of an EngineProcess."""

    id = None
    end_reason = "exit code 0"
    fault: Fault

    def __init__(self, channel: AsyncChannel, closed: asyncio.Event, theirs: socket.socket) -> None:
        self._channel = channel
        self._closed = closed
        self._thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        """Begins when somebody listens: a process would take seconds to be ready."""

    @classmethod
    async def start(
        cls, config: EngineConfig, on_message: Callable[[FromEngine], None], answers: bytes
    ) -> "EngineThread":
        ours, theirs = open_socketpair()
        closed = asyncio.Event()
        channel = await AsyncChannel.open(ours, on_message, closed.set)
        channel.send(Configure(config, answers))
        return cls(channel, closed, theirs)

    def _serve(self, theirs: socket.socket) -> None:
        with theirs:
            channel = BreakingChannel(theirs, self.fault)
            configured = BlockingChannel.receive(channel, wait=True)
            assert configured and isinstance(configured[0], Configure)
            core = EngineCore(loaded_model("llama"), CONFIG)
            channel.send(_ready(core, loaded_model("llama"), CONFIG, step_seconds=0.1))
            try:
                run_engine(core, channel)
            except OSError:  # also where the API process closed its end over a message that it cannot read
                return
            core.check_invariants()

    def send(self, message: ToEngine) -> None:
        self._channel.send(message)

    async def closed(self) -> None:
        self._thread.start()
        await self._closed.wait()

    async def end(self) -> None:
        self._channel.close()
        await asyncio.to_thread(self._thread.join)


async def read(stream: RequestStream, most: int) -> Any:
    """All that a reader gets, who leaves after so many tokens."""
    tokens, scores = list[int](), list[float]()
    async for output in stream:
        tokens += output.tokens
        scores = output.label_scores or scores
        if output.finish_reason is not None:
            return tokens, scores, output.finish_reason
        if len(tokens) >= most:
            stream.close()
            return tokens[:most], scores, FinishReason.ABORTED
    raise AssertionError("a stream ended without a last output")


async def session(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], int]:
    """The answers, and how many engines there were."""
    monkeypatch.setattr(supervisor, "EngineProcess", EngineThread)
    monkeypatch.setattr(supervisor, "_LONGEST_BACKOFF", 0.0)
    monkeypatch.setattr(EngineThread, "fault", fault, raising=False)
    observer = RecordingObserver()
    engine = AsyncEngine(CONFIG, observer)
    await engine.start()
    while engine.state is not EngineState.READY:
        await asyncio.sleep(0)
    readers = list[Coroutine[Any, Any, Any]]()
    for number, prompt in enumerate(prompts(5, seed=4)):
        sampling = SamplingParams(max_tokens=12, ignore_eos=True, temperature=number % 2, seed=number)
        readers.append(read(engine.submit(prompt, sampling=sampling), most=5 if number == 3 else 99))
    readers.append(read(engine.submit(prompts(1, seed=5)[0], labels=LABELS), most=99))
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*readers)
    await engine.stop(drain_seconds=10)
    assert engine.num_open == 0
    return list(answers), 1 + len(observer.named("engine_restarted"))


@pytest.mark.parametrize("kind", ["lost", "torn", "last", "garbled", "unread", "forgotten"])
async def test_whichever_call_of_the_channel_fails_readers_get_their_whole_answers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, engines = await session(Fault("none", 1), monkeypatch)
    assert engines == 1
    alone = list[int]()
    for k in itertools.count(1):
        fault = Fault(kind, k)
        answers, engines = await session(fault, monkeypatch)
        assert answers == expected, k
        if fault.calls < k:
            break
        if engines == 1:
            alone.append(k)
    # Behind the last outputs nobody is left to wait for another engine; where that is changes with the batches.
    assert kind == "last" or all(one > 0.75 * k for one in alone), alone
    assert k > (5 if kind != "forgotten" else 1)
