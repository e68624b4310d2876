"""The settings table of README.md, written from the settings themselves: `python -m docs.settings_table`."""

from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def settings_table() -> str:
    """One Markdown row for each setting: variable, default, meaning."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def with_table(readme: str) -> str:
    """The README text with the current table between its two markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {field.description}{_choices(field)} |"


def _choices(field: FieldInfo) -> str:
    """What a field of few values may be."""
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" One of {', '.join(f'`{value}`' for value in get_args(field.annotation))}."


def _default(value: object) -> str:
    if value is None or value in ("", []):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    # The embedded model lies in the checkout, wherever that is.
    return f"`{str(value).removeprefix(f'{ROOT}/')}`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
