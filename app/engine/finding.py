"""What `doctor` found out about one thing; it crosses from the engine's side of the check to the API's."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One line of the report.

    Attributes:
        what: the thing that was looked at.
        state: `failed` keeps the service from working; `warning` does not.
        detail: what was found, with the cure where it is not well.
    """

    what: str
    state: Literal["ok", "warning", "failed"]
    detail: str
