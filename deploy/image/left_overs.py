"""What lies in an image and should not."""

import re
from pathlib import Path

_UNWANTED = re.compile(
    r"(^|/)(pip\.conf|pip\.ini|pip/_internal|bin/(gcc|g\+\+|c\+\+|cc)|[^/]*\.whl|torch/include|site-packages(/.+)?/tests"
    r"|srv/(tests|docs|deploy|loadtests|workshop|requirements|\.git))$"
)
_BASE_FOLDERS = ("usr/share/python-wheels", "usr/lib/python3")
"""The base image brings an installer of its own there."""


def left_overs(root: Path) -> list[str]:
    """Paths below an image's root that only building needs: compilers, installers, tests, this machine's settings."""
    found = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if _UNWANTED.search(name) and not name.startswith(_BASE_FOLDERS):
            found.append(name)
    return sorted(found)


def told(history: str, options: dict[str, str]) -> list[str]:
    """Names of the options of pip whose values an image's history or configuration repeats."""
    words = {name: [word for word in value.split() if "/" in word] for name, value in options.items()}
    # The place of Debian's certificates is the same everywhere.
    return [
        name
        for name, values in words.items()
        if any(value in history for value in values if not value.startswith("/etc/ssl/"))
    ]
