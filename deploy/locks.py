"""What the locks of requirements/ pin."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
_PINNED = re.compile(r"([a-z0-9._-]+)==([\w.!+]+)")
_VIA = re.compile(r"    #(?: via)?\s+([a-z0-9._-]+)$")


@dataclass(frozen=True)
class Pinned:
    """One package of a lock.

    Attributes:
        hashes: how many files of it may be installed; 0 where any may.
        direct: asked for by name, and not by another package alone.
        needed_by: the packages of the lock that require it.
    """

    name: str
    version: str
    hashes: int
    direct: bool
    needed_by: tuple[str, ...]


def pinned(lock: str) -> Iterator[Pinned]:
    """The packages of a lock such as `runtime.txt`, in its order."""
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        if found := _PINNED.match(entry):
            via = (_VIA.match(line) for line in entry.splitlines())
            needed_by = tuple(match[1] for match in via if match)
            direct = " -r " in entry or not needed_by
            yield Pinned(found[1], found[2], entry.count("--hash=sha256:"), direct, needed_by)
