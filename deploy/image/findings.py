"""What a run of the image test found, as rows of a dated page."""

import datetime
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_POLL_SECONDS = 0.2


class CheckFailed(Exception):
    """Something is not as it should be; the message says what."""


def require(holds: bool, otherwise: str) -> None:
    """Go on where it holds.

    Raises:
        CheckFailed: with the words of `otherwise`.
    """
    if not holds:
        raise CheckFailed(otherwise)


@dataclass
class Findings:
    """Rows in the order in which they were found; each is printed as it comes."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, found: str) -> None:
        """Take a row."""
        self.rows.append((what, found))
        print(f"{what}: {found}", flush=True)

    def page(self, machine: Mapping[str, str], command: str, today: datetime.date) -> str:
        """The page in markdown."""
        return "\n".join(
            [
                f"# Image test, {today}\n",
                *[f"- {name}: {value}" for name, value in machine.items()],
                f"\nReproduce: `{command}`\n",
                "The base image is a stand-in of Debian's own packages for the official Python image, which is",
                "smaller; so are those of Prometheus, Alertmanager and HAProxy. Not seen here: the `cuda` target,",
                "which needs a build of torch with CUDA, Grafana, a Docker daemon, a Kubernetes cluster.\n",
                "| what | found |",
                "| --- | --- |",
                *[f"| {what} | {found} |" for what, found in self.rows],
                "",
            ]
        )


def eventually(holds: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Wait until it holds.

    Raises:
        CheckFailed: it does not within `seconds`; `what` says what was waited for.
    """
    limit = time.monotonic() + seconds
    while not holds():
        require(time.monotonic() < limit, f"not within {seconds:g} s: {what}")
        time.sleep(_POLL_SECONDS)
