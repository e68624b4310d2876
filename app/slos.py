"""The service-level objectives (`slos.toml`): what the service judges its requests by, and alerts are made of."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.observation import Task

DEFAULT_FILE = Path(__file__).with_name("slos.toml")

SloName = Literal["availability", "ttft", "itl", "e2e"]
_TASKS: dict[SloName, frozenset[Task]] = {
    "availability": frozenset({"chat", "completion", "decision"}),
    "ttft": frozenset({"chat", "completion"}),
    "itl": frozenset({"chat", "completion"}),
    "e2e": frozenset({"decision"}),
}
"""Which tasks each objective can be measured of."""


class InvalidSlos(ValueError):
    """A table of objectives that cannot be used; the message is one line for the operator."""


class Slo(BaseModel):
    """One objective: this share of the requests of these tasks, over 30 days, in this time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SloName
    tasks: tuple[Task, ...] = Field(min_length=1)
    objective: float = Field(gt=0, lt=1)
    threshold_seconds: float | None = Field(None, gt=0)
    stall_seconds: float | None = Field(None, gt=0)
    """Of `itl` alone: no single gap may be longer, however short they are on average. None allows any."""

    @model_validator(mode="after")
    def _is_measurable(self) -> Self:
        if strangers := set(self.tasks) - _TASKS[self.name]:
            raise ValueError(f"{self.name} is not measured of {', '.join(sorted(strangers))}")
        if (self.threshold_seconds is None) != (self.name == "availability"):
            raise ValueError("every objective but availability has a threshold_seconds")
        if self.stall_seconds is not None and self.name != "itl":
            raise ValueError("only itl has a stall_seconds")
        return self


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slo: Annotated[tuple[Slo, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        pairs = Counter((slo.name, task) for slo in self.slo for task in slo.tasks)
        if twice := [f"{name} of {task}" for (name, task), times in pairs.items() if times > 1]:
            raise ValueError(f"{', '.join(twice)} is there twice")
        return self


def load_slos(path: Path = DEFAULT_FILE) -> tuple[Slo, ...]:
    """Read a table of objectives.

    Raises:
        InvalidSlos: it cannot be read, is no TOML, or says what cannot be measured.
    """
    try:
        return _Table.model_validate(tomllib.loads(path.read_text("utf-8"))).slo
    except OSError as error:
        raise InvalidSlos(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSlos(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        parts = (str(path), ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))
        raise InvalidSlos(
            ": ".join(part for part in parts if part)
        ) from error  # the whole table has no place


def answer_within(slos: Iterable[Slo]) -> dict[Task, float]:
    """Seconds within which an answer should begin, or a decision end, by task; not of tasks without an objective."""
    return {
        task: slo.threshold_seconds
        for slo in slos
        if slo.name in ("ttft", "e2e") and slo.threshold_seconds is not None
        for task in slo.tasks
    }
