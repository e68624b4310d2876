"""`python -m app`: settings, model directory, one uvicorn worker. `python -m app keys new` makes an API key."""

import asyncio
import ipaddress
import sys
from contextlib import ExitStack
from socket import socket

from pydantic import ValidationError

from app import keys
from app.banner import Terminal
from app.engine.client import AsyncEngine
from app.logs import configure_logging
from app.main import create_app
from app.metrics import InvalidMetricSettings, Metrics
from app.model_source import ModelNotAvailable, model_directory
from app.server import CannotListen, Server, new_event_loop, open_listeners, uvicorn_config
from app.services.known_answers import InvalidAnswersFile
from app.services.model_file import InvalidModelFile
from app.settings import PREFIX, Settings, UnknownSetting, load_settings

_EXIT_CONFIGURATION = 2
_EXIT_ENGINE = 3
_USAGE = """\
usage: python -m app             serve
       python -m app keys new    make an API key (see `python -m app keys new --help`)
       python -m app --help      show this

Settings are REPARTEE_* environment variables; README.md, section Settings, has them all."""


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit code (2: wrong configuration, 3: the engine cannot start)."""
    if arguments[:1] == ["keys"]:
        return keys.main(arguments[1:])
    if arguments in (["--help"], ["-h"]):
        print(_USAGE)
        return 0
    if arguments:
        print(_USAGE, file=sys.stderr)
        return _EXIT_CONFIGURATION
    try:
        settings = load_settings()
        _refuse_unsafe(settings)
        settings = settings.model_copy(
            update={"model": str(model_directory(settings.model)), "model_name": settings.served_name}
        )
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        return _EXIT_CONFIGURATION
    except (UnknownSetting, UnsafeSetting, ModelNotAvailable) as error:
        print(error, file=sys.stderr)
        return _EXIT_CONFIGURATION
    listener = configure_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve(settings))
    except (CannotListen, InvalidMetricSettings, InvalidModelFile) as error:
        print(error, file=sys.stderr)
        return _EXIT_CONFIGURATION
    except keys.InvalidKeysFile as error:
        print(f"{PREFIX}API_KEYS_FILE is {settings.api_keys_file}: {error}", file=sys.stderr)
        return _EXIT_CONFIGURATION
    except InvalidAnswersFile as error:
        print(f"{PREFIX}ANSWERS_FILE: {error}", file=sys.stderr)
        return _EXIT_CONFIGURATION
    finally:
        listener.stop()


async def serve(settings: Settings) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        CannotListen, InvalidAnswersFile, InvalidKeysFile, InvalidMetricSettings, InvalidModelFile: before
            anything was served.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in open_listeners(settings)]
        return await _serve(settings, listeners)


async def _serve(settings: Settings, listeners: list[socket]) -> int:
    metrics = Metrics.of(settings)
    terminal = Terminal(settings, listeners[0].getsockname()[1])
    failed = False

    def on_failed(_: str) -> None:  # the engine's client has logged the reason
        nonlocal failed
        failed = server.should_exit = True

    engine = AsyncEngine(
        settings.engine_config(),
        metrics,
        max_waiting=settings.max_waiting,
        on_failed=on_failed,
        on_progress=terminal.progress,
        on_ready=terminal.ready,
    )
    server = Server(uvicorn_config(create_app(settings, engine, metrics), settings), engine, settings)
    print(f"Repartee starts with {settings.model}", file=sys.stderr, flush=True)
    await server.serve(sockets=listeners)
    return _EXIT_ENGINE if failed else 0


class UnsafeSetting(ValueError):
    """A combination of settings that would leave the service open to strangers."""


def _refuse_unsafe(settings: Settings) -> None:
    if settings.api_keys_file or settings.allow_open or _is_loopback(settings.host):
        return
    raise UnsafeSetting(
        f"{PREFIX}HOST is {settings.host}, which others can reach, and there are no API keys. Set "
        f"{PREFIX}API_KEYS_FILE (see `python -m app keys new`), or {PREFIX}ALLOW_OPEN=true if that is meant."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
