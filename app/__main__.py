"""`python -m app COMMAND`: what each command does lies in a module of its own, loaded only where it is asked for."""

import os
import signal
import sys

from app import exit_codes

USAGE = """\
usage: python -m app [COMMAND] [OPTIONS]

  serve     serve the model; also without any command
  keys      make API keys
  config    show every setting, its value and where that comes from
  doctor    look at machine, model, port and files, and say what would keep the service from working
  bench     load a running server and show the latencies that its clients see

examples:
  python -m app
  REPARTEE_PORT=9000 REPARTEE_MODEL=/models/my-model python -m app serve
  python -m app keys new --tenant acme
  python -m app config --json
  python -m app doctor
  python -m app bench --rate 4 --seconds 30

exit codes: 0 well; 1 doctor found something wrong, or requests of bench failed; 2 a wrong command, setting or file;
3 the engine cannot start; 4 bench was too slow itself; 130 (Ctrl-C) or 143 (SIGTERM): a signal ended it at once

Settings are REPARTEE_* environment variables; README.md, section Settings, has them all."""


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit code."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("serve", [])
    match command:
        case "--help" | "-h" | "help":
            return _help()
        case "serve" if options in (["--help"], ["-h"]):
            return _help()
        case "serve" if options:
            return _refuse(f"serve takes no options, and got {options[0]!r}")
        case "serve":
            from app.serve import main as serve

            return serve()
        case "keys":
            from app.keys import main as keys

            return keys(options)
        case "config":
            from app.show_config import main as config

            return config(options)
        case "doctor":
            from app.doctor import main as doctor

            return doctor(options)
        case "bench":
            from app.bench.command import run as bench

            return bench(options)
    return _refuse(f"unknown command {command!r}")


def _help() -> int:
    print(USAGE)
    return exit_codes.OK


def _refuse(complaint: str) -> int:
    print(complaint, USAGE, sep="\n\n", file=sys.stderr)
    return exit_codes.CONFIGURATION


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exit_codes.FAILED
    except KeyboardInterrupt:
        code = exit_codes.of_signal(signal.SIGINT)
    except ModuleNotFoundError as error:
        if (error.name or "app").partition(".")[0] == "app":
            raise
        print(
            f"{error}: run it in the environment that `make serve` fills, .venv/bin/python", file=sys.stderr
        )
        code = exit_codes.CONFIGURATION
    sys.exit(code)
