"""The engine process: `python -m app.engine FD`, where FD is its end of the socketpair."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import time

from app.engine.channel import BlockingChannel
from app.engine.log_lines import write_records
from app.engine.loop import run_engine
from app.engine.messages import Configure, Failed, Progress

logger = logging.getLogger("app.engine")

_PR_SET_PDEATHSIG = 1
_NICENESS = 5
"""Where both want the same core, the API process goes first: it needs little, and probes, refusals and every token on
its way to a client wait for it. The engine takes the rest; at 16 streams it loses 1 % (docs/log.md)."""


def main() -> int:
    """Load the model, say what was found, then serve until the API process is gone."""
    # Both may reach the whole group, by a terminal or a service manager; the API process decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICENESS)  # before there are threads: each has its own
    with (
        socket.socket(fileno=int(sys.argv[1])) as end,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        _die_with_parent(end)
        return _serve(BlockingChannel(end), end.fileno())
    return 0


def _serve(channel: BlockingChannel, arrivals: int) -> int:
    messages = channel.receive(wait=True)
    if not messages:
        return 0
    configure = messages[0]
    assert isinstance(configure, Configure), "the first message configures the engine"
    started = time.monotonic()
    from app.engine.start import StartFailure, start_core  # imports torch: seconds, so they are reported

    channel.send(Progress("import", time.monotonic() - started))
    try:
        core, ready = start_core(configure.config, channel.send, configure.answers, arrivals)
    except StartFailure as failure:
        channel.send(Failed(str(failure)))
        return 1
    except Exception as error:
        logger.exception("the engine cannot start")
        channel.send(Failed(f"The engine cannot start: {type(error).__name__}; the log above says where."))
        return 1
    channel.send(ready)
    try:
        run_engine(core, channel)
    except AssertionError:
        logger.exception("the engine's state is wrong; this process ends, and a new one takes its place")
        return 1
    return 0


def _die_with_parent(end: socket.socket) -> None:
    """Ask Linux to end this process with its parent, so that a long forward pass leaves no orphan.

    Args:
        end: of the socketpair, whose maker is the parent. In a container it may well be process 1.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    maker, _, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if os.getppid() != maker:  # the parent was gone before the request was made
        sys.exit(0)


if __name__ == "__main__":
    write_records()
    sys.exit(main())
