"""Reads one table or one JSON-lines file of the data folder, plain or gzipped."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file; cells may hold line breaks, which come out as plain newlines."""
    with _open(path) as stream:
        rows = csv.DictReader(stream)
        return [{name: cell.replace("\r\n", "\n") for name, cell in row.items()} for row in rows]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All objects of a JSON-lines file."""
    with _open(path) as stream:
        return [json.loads(line) for line in stream]


def held_out(key: str, percent: int = 3) -> bool:
    """Whether a row belongs to the part kept out of training; stable across runs and machines."""
    return zlib.crc32(key.encode()) % 100 < percent


def normal(text: str) -> str:
    """The form in which two texts count as the same one: case and spacing do not matter."""
    return " ".join(text.lower().split())


def without(rows: list[dict[str, str]], column: str, banned: set[str]) -> Iterator[dict[str, str]]:
    """The rows whose `column` is not, up to case and spacing, among the banned texts."""
    return (row for row in rows if normal(row[column]) not in banned)
