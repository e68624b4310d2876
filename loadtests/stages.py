"""The shape of a load: steps or a sweep of users (closed loop) or of requests a second (open loop)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile


class InvalidStages(ValueError):
    """No shape of a load; the message is one line."""


@dataclass(frozen=True)
class Stage:
    """A load (users, or requests a second) for so many seconds."""

    load: float
    seconds: float


def parse_stages(steps: str, sweep: str, seconds: float) -> list[Stage]:
    """Stages from "4,8,16" or from "2:64:6": first, last and how many, each greater than the last by one factor.

    Raises:
        InvalidStages: both or neither, or not such a text.
    """
    if bool(steps) == bool(sweep):
        raise InvalidStages("either steps or a sweep")
    try:
        if steps:
            loads = [float(step) for step in steps.split(",")]
        else:
            first, last, count = sweep.split(":")
            factor = (float(last) / float(first)) ** (1 / (int(count) - 1))
            loads = [float(first) * factor**number for number in range(int(count))]
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidStages(
            f"{steps or sweep!r} is no list such as 4,8,16 and no sweep such as 2:64:6"
        ) from error
    if not all(0 < load <= 1e5 for load in loads) or not 0 < seconds <= 3600:
        raise InvalidStages(
            f"{steps or sweep!r} for {seconds:g} s: loads and seconds are above 0, and bounded"
        )
    return [Stage(load, seconds) for load in loads]


def arrivals(
    stages: Sequence[Stage], process: Callable[[float], Iterator[float]]
) -> Iterator[tuple[float, float]]:
    """Offset and rate of each arrival; `process` gives the offsets of one rate, without an end."""
    begin = 0.0
    for stage in stages:
        for offset in takewhile(lambda at, end=stage.seconds: at < end, process(stage.load)):  # type: ignore[misc]
            yield begin + offset, stage.load
        begin += stage.seconds
