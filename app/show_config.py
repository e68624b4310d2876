"""`python -m app config`: every setting with its value, its default and where the value comes from."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from app import exit_codes
from app.settings import (
    PREFIX,
    Settings,
    UnknownSetting,
    UnsafeSetting,
    explain,
    load_settings,
    refuse_unsafe,
)


@dataclass(frozen=True)
class ShownSetting:
    """One setting as JSON has it; a secret would be stars, for pydantic writes it so."""

    variable: str
    value: Any
    default: Any
    source: str
    """`environment` or `default`."""


def shown_settings(settings: Settings) -> list[ShownSetting]:
    """All settings, in the order of their definition."""
    values = settings.model_dump(mode="json")
    defaults = Settings.model_construct().model_dump(mode="json")
    return [
        ShownSetting(
            variable=PREFIX + name.upper(),
            value=value,
            default=defaults[name],
            source="environment" if name in settings.model_fields_set else "default",
        )
        for name, value in values.items()
    ]


def main(options: Sequence[str]) -> int:
    """Run `config`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m app config", description="Show every setting, its value and where that comes from."
    )
    parser.add_argument("--json", action="store_true", help="a JSON list instead of a table")
    as_json = parser.parse_args(options).json
    try:
        settings = load_settings()
        refuse_unsafe(settings)
    except (ValidationError, UnknownSetting, UnsafeSetting) as error:
        print(explain(error), file=sys.stderr)
        return exit_codes.CONFIGURATION
    shown = shown_settings(settings)
    print(json.dumps([asdict(one) for one in shown], indent=2) if as_json else table(shown))
    return exit_codes.OK


def table(settings: Sequence[ShownSetting]) -> str:
    """The settings as aligned columns for people."""
    rows = [("setting", "value", "source", "default")]
    rows += [(one.variable, _text(one.value), one.source, _text(one.default)) for one in settings]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _text(value: Any) -> str:
    """As one would write it in the environment; nothing as a dash, so that columns stay readable."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
