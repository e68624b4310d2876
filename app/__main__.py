"""`python -m app`: settings, model directory, one uvicorn worker. `python -m app keys new` makes an API key."""

import asyncio
import sys
from contextlib import ExitStack
from socket import socket

from app import keys
from app.banner import Terminal
from app.configuration import WRONG_CONFIGURATION, complaints, load_configuration
from app.engine.client import AsyncEngine
from app.logs import configure_logging
from app.main import create_app
from app.metrics import Metrics
from app.server import CannotListen, Server, new_event_loop, open_listeners, uvicorn_config
from app.services.known_answers import InvalidAnswersFile
from app.services.model_file import InvalidModelFile
from app.settings import PREFIX, Settings

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
        settings = load_configuration()
    except WRONG_CONFIGURATION as error:
        print(*complaints(error), sep="\n", file=sys.stderr)
        return _EXIT_CONFIGURATION
    listener = configure_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve(settings))
    except (CannotListen, InvalidModelFile) as error:
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
        CannotListen, InvalidAnswersFile, InvalidKeysFile, InvalidModelFile: before anything was served.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in open_listeners(settings)]
        return await _serve(settings, listeners)


async def _serve(settings: Settings, listeners: list[socket]) -> int:
    metrics = Metrics(settings.served_name)
    metrics.set_queue_limit(settings.max_waiting)
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
    server = Server(uvicorn_config(create_app(settings, engine, metrics), settings), engine)
    print(f"Repartee starts with {settings.model}", file=sys.stderr, flush=True)
    await server.serve(sockets=listeners)
    return _EXIT_ENGINE if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
