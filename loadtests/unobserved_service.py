"""The service without metrics: `python -m loadtests.unobserved_service`, for the bench that says what they cost.

There is no setting for this: an operator who cannot see the service saves next to nothing.
"""

import sys
from collections.abc import Callable
from typing import Any

from app.metrics import Metrics

_KEPT = frozenset({"of", "render"})


def strip(metrics: type[Metrics]) -> None:
    """Let every observing method of a class do nothing."""
    for name, member in vars(Metrics).items():
        if callable(member) and not name.startswith("_") and name not in _KEPT:
            setattr(metrics, name, _nothing())


def _nothing() -> Callable[..., None]:
    def ignore(self: Metrics, *arguments: Any, **named: Any) -> None:
        """Nothing is observed."""

    return ignore


if __name__ == "__main__":
    from app.__main__ import main

    strip(Metrics)
    sys.exit(main([]))
