"""The service with another module as its engine process: `python -m loadtests.reliability.other_engine MODULE`.

The module changes something in the engine and then runs `app.engine.__main__.main`; the rest is the service as it is.
"""

import asyncio
import sys
from asyncio.subprocess import Process
from typing import Any

import app.engine.process


def run_engine_as(module: str) -> None:
    """From now on, let this process start `module` where it would start `app.engine`."""
    start = asyncio.create_subprocess_exec

    async def start_other(*command: str, **options: Any) -> Process:
        return await start(*(module if part == "app.engine" else part for part in command), **options)

    app.engine.process.asyncio.create_subprocess_exec = start_other  # type: ignore[attr-defined]


if __name__ == "__main__":
    from app.__main__ import main

    run_engine_as(sys.argv[1])
    sys.exit(main([]))
