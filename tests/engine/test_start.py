"""start_core and the process around it: phases in order, and a start that cannot serve says so instead of serving."""

import signal
import socket
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import torch

from app.engine import __main__ as process
from app.engine import start
from app.engine.channel import open_socketpair
from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.core.torch_runner import TorchRunner
from app.engine.messages import (
    AddRequest,
    Configure,
    Failed,
    FromEngine,
    Progress,
    Ready,
    SamplingParams,
    StepOutputs,
    ToEngine,
)
from app.engine.start import StartFailure, start_core
from tests.engine.core.tiny_models import VOCABULARY, tiny_checkpoint


def configuration(**overrides: int) -> EngineConfig:
    sizes = {"kv_cache_tokens": 1024} | overrides
    return EngineConfig(model=str(tiny_checkpoint("llama")), device="cpu", dtype="float32", **sizes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A start changes the threads of the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("limit", "expected"), [(start._SMALL_PARAMETERS, 1), (10, 2)])
def test_a_small_model_runs_on_one_thread(limit: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_SMALL_PARAMETERS", limit)
    torch.set_num_threads(2)
    start_core(configuration(), lambda message: None)
    assert torch.get_num_threads() == expected


def test_threads_that_are_set_are_taken() -> None:
    start_core(configuration(threads=2), lambda message: None)
    assert torch.get_num_threads() == 2


def test_the_phases_are_reported_and_the_warm_up_leaves_nothing() -> None:
    sent: list[FromEngine] = []
    core, ready = start_core(configuration(), sent.append)
    phases = [message.phase for message in sent if isinstance(message, Progress)]
    assert phases == ["kernels", "load", "cache", "warmup"]
    assert (ready.vocab_size, ready.max_model_len, ready.eos_token_ids) == (VOCABULARY, 256, [2])
    assert ready.num_blocks * ready.block_size == 1024
    assert not core.has_work and core.scheduler.blocks.num_used == 0
    prompt = list(range(64))  # the warm-up's own: what it left in the prefix cache must be nobody's
    core.add(AddRequest(id=1, prompt=prompt, sampling=SamplingParams(max_tokens=1)))
    core.add(AddRequest(id=2, prompt=prompt, sampling=SamplingParams(max_tokens=1), cache_salt="warm-up"))
    outputs = {output.id: output for output in core.step().outputs}
    assert (outputs[1].cached_tokens, outputs[2].cached_tokens) == (0, 48)


@pytest.mark.parametrize("context", [4, 8])
def test_the_shortest_contexts_are_warmed_up_too(context: int) -> None:
    core, ready = start_core(configuration(max_model_len=context), lambda message: None)
    assert ready.max_model_len == context and not core.has_work


def test_a_model_that_fails_on_the_warm_up_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(TorchRunner, "run", broken)
    with pytest.raises(StartFailure, match="warm-up"):
        start_core(configuration(), lambda message: None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "REPARTEE_QUANTIZATION"),
        (StartFailure("because"), "because"),
        (TypeError(), "TypeError"),
    ],
)
def test_whatever_a_start_raises_is_told_to_the_operator(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(start, "load_model", broken)
    messages, code = conversation(monkeypatch, Configure(configuration()))
    assert code == 1
    assert isinstance(messages[-1], Failed) and words in messages[-1].message


def test_the_process_serves_until_its_peer_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    messages, code = conversation(monkeypatch, Configure(configuration()))
    assert code == 0
    assert isinstance(messages[-1], Ready)


def test_damaged_blocks_are_logged_and_end_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(*arguments: Any) -> tuple[EngineCore, Ready]:
        core, ready = start_core(*arguments)
        core.scheduler.blocks._free.popitem()
        return core, ready

    monkeypatch.setattr(start, "start_core", damaged)
    request = AddRequest(id=1, prompt=[5], sampling=SamplingParams(max_tokens=1))
    messages, code = conversation(monkeypatch, Configure(configuration()), request)
    assert code == 1
    assert isinstance(messages[-1], StepOutputs)
    assert "the free list is wrong" in caplog.text


def test_a_peer_that_leaves_before_it_configures_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert conversation(monkeypatch, None) == ([], 0)


def conversation(
    monkeypatch: pytest.MonkeyPatch, first: Configure | None, then: AddRequest | None = None
) -> tuple[list[FromEngine], int]:
    """Run the engine process's `main` in a thread, with a peer that leaves once it knows how the start went.

    The peer sends `then`, a request of one token, waits for its step, and then for the process to leave.
    """
    ours, theirs = open_socketpair()
    monkeypatch.setattr(sys, "argv", ["engine", str(theirs.detach())])
    monkeypatch.setattr(process, "_die_with_parent", lambda end: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    messages: list[FromEngine] = []
    with ours, ThreadPoolExecutor(1) as executor:
        code = executor.submit(process.main)
        try:
            if first is not None:
                send(ours, first)
                while not messages or isinstance(messages[-1], Progress):
                    messages.append(receive(ours))
            if then is not None:
                send(ours, then)
                messages.append(receive(ours))
                ours.settimeout(20)
                assert ours.recv(1) == b""  # it leaves by itself
        finally:
            ours.shutdown(socket.SHUT_WR)
        return messages, code.result(timeout=60)


def send(end: socket.socket, message: ToEngine) -> None:
    payload = msgspec.msgpack.encode(message)
    end.sendall(len(payload).to_bytes(4, "little") + payload)


def receive(end: socket.socket) -> FromEngine:
    size = int.from_bytes(end.recv(4, socket.MSG_WAITALL), "little")
    message: FromEngine = msgspec.msgpack.decode(end.recv(size, socket.MSG_WAITALL), type=FromEngine)
    return message


def test_the_store_knows_what_the_model_knows() -> None:
    config = configuration()
    loaded = load_model(config)
    tokens = [5, 6, VOCABULARY, 7, 8, 9, 10, VOCABULARY + 5, 2]
    store = start.known_answers(array("i", tokens).tobytes(), loaded)
    assert store.follow(store.find([5, 6]))[0] == 7
    core, _ = start_core(config, lambda message: None, array("i", tokens).tobytes())
    assert core.scheduler.speculation is None  # in float32 it is not the native decoder that runs
