"""`python -m app serve`: settings, model directory, one uvicorn worker."""

import asyncio
import gc
import os
import sys
from contextlib import ExitStack
from socket import socket
from typing import TYPE_CHECKING

from app import exit_codes
from app.banner import StartReport
from app.configuration import WRONG_CONFIGURATION, complaint, load_configuration
from app.descriptors import raise_limit
from app.engine.client import AsyncEngine
from app.keys import InvalidKeysFile
from app.logs import configure_logging, is_text
from app.main import create_app
from app.metrics import InvalidMetricSettings, Metrics
from app.policy.rules import InvalidPolicyFile
from app.server import CannotListen, Server, new_event_loop, open_listeners, uvicorn_config
from app.services.known_answers import InvalidAnswersFile
from app.services.model_file import InvalidModelFile
from app.settings import PREFIX, Settings
from app.slos import answer_within

if TYPE_CHECKING:
    from app.tracing import Tracing


class InvalidTraces(ValueError):
    """Traces cannot be set up as the settings and the `OTEL_*` variables say; for the operator."""


SWITCH_SECONDS = 0.001
"""How long a thread may go on while the event loop waits for the interpreter; Python's own 5 ms add up."""
COLLECT_AFTER = (10_000, 2, 50)
"""Thresholds of the garbage collector's generations. A full collection goes through all that is alive, and the event
loop waits: 30 ms beside four requests of the largest size, and Python's own 700, 10, 10 make one every other request.
"""
UNUSABLE = (
    CannotListen,
    InvalidAnswersFile,
    InvalidKeysFile,
    InvalidMetricSettings,
    InvalidModelFile,
    InvalidPolicyFile,
    InvalidTraces,
)
"""What ends a start before anything was served, beside a wrong configuration; `reason` puts it into words."""


def main() -> int:
    """Serve as the environment says; returns the exit code."""
    try:
        settings = load_configuration()
    except WRONG_CONFIGURATION as error:
        return _refuse(complaint(error))
    raise_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    writer = configure_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            code = runner.run(serve(settings))
    except UNUSABLE as error:
        code = _refuse(reason(settings, error))
    finally:
        writer.stop()
    if writer.stuck:  # nobody reads the log; the interpreter's own end would wait for its thread
        os._exit(code)
    return code


def reason(settings: Settings, error: Exception) -> str:
    """One line for the operator about one of `UNUSABLE`, with the setting to look at."""
    match error:
        case InvalidKeysFile():
            return f"{PREFIX}API_KEYS_FILE is {settings.api_keys_file}: {error}"
        case InvalidAnswersFile():
            return f"{PREFIX}ANSWERS_FILE: {error}"
        case InvalidPolicyFile():
            return f"{PREFIX}POLICY_FILE: {error}"
        case InvalidTraces():
            return f"{PREFIX}TRACES_ENDPOINT is set, but {error}"
    return str(error)


async def serve(settings: Settings) -> int:
    """Serve until a signal; returns the exit code: the second signal's, if one cut requests off.

    Raises:
        one of `UNUSABLE`, before anything was served.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in open_listeners(settings)]
        return await _serve(settings, listeners, stack)


async def _serve(settings: Settings, listeners: list[socket], stack: ExitStack) -> int:
    metrics = Metrics.of(settings)
    spans = tracing_of(settings, stack)
    report = StartReport(settings, listeners[0].getsockname()[1], text=is_text(settings.log_format))
    failed = False

    def on_failed(_: str) -> None:  # the engine's client has logged the reason
        nonlocal failed
        failed = server.should_exit = True

    engine = AsyncEngine(
        settings.engine_config(),
        metrics,
        max_waiting=settings.max_waiting,
        objectives=answer_within(metrics.slos),
        on_failed=on_failed,
        on_progress=report.progress,
        on_ready=report.ready,
    )
    app = create_app(settings, engine, metrics, spans=spans)
    settle_collector()
    server = Server(uvicorn_config(app, settings, metrics), engine, settings)
    await asyncio.sleep(0)  # a Ctrl-C until here is heard here; within uvicorn it would leave a stack trace
    report.starts()
    await server.serve(sockets=listeners)
    if server.cut_by is not None:
        return exit_codes.of_signal(server.cut_by)
    return exit_codes.ENGINE if failed else exit_codes.OK


def settle_collector() -> None:
    """Leave what is alive now out of all collections, and make those of the rest rare."""
    gc.collect()
    gc.freeze()  # or each large request has all modules gone through, which holds the event loop for tens of ms
    gc.set_threshold(*COLLECT_AFTER)


def tracing_of(settings: Settings, stack: ExitStack) -> "Tracing | None":
    """Traces to the collector of the settings until the stack is left; None where there is none.

    Raises:
        InvalidTraces: they cannot be made.
    """
    if not settings.traces_endpoint:
        return None
    try:
        from app.tracing import Tracing  # OpenTelemetry's SDK and its exporter, which take memory

        tracing = Tracing.to_collector(settings)
    except (ImportError, RuntimeError, ValueError) as error:  # an `OTEL_*` variable that the SDK cannot use
        raise InvalidTraces(f"traces cannot be made: {error}") from error
    stack.callback(tracing.close)
    return tracing


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return exit_codes.CONFIGURATION
