"""What the exit codes of `python -m app` mean."""

OK = 0
FAILED = 1
"""`doctor` found something that keeps the service from working, a request of `bench` failed, or nobody reads what a
command prints."""
CONFIGURATION = 2
"""A wrong command, setting or file; one line says which."""
ENGINE = 3
"""The engine cannot start; the log says why."""
VOID = 4
"""`bench` was too slow itself: its figures say nothing about the server."""


def of_signal(sig: int) -> int:
    """Ended by a signal before its work was done, as shells number it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + sig
