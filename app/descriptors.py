"""File descriptors: as many as the process may have, and some that no connection takes."""

import contextlib
import resource

RESERVED = 48
"""For files, for the engine's socket, and for another engine while all connections stay open."""


def raise_limit() -> None:
    """Take the hard limit, which is often much more than what a shell or a service manager gives at first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems have a lower bound of their own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> int:
    """How many connections this process may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 31
    return max(soft // 2, soft - RESERVED)
