"""Where the peers are that are no dependency of this project: a virtual environment named by whoever runs the bench.

Its `bin` holds llama.cpp's programs, its Python the packages openvino-genai and ctranslate2; docs/benchmarks/README.md
says how it is made.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

LLAMA_SERVER, LLAMA_BENCH, LLAMA_QUANTIZE = "llama-server", "llama-bench", "llama-quantize"
OPENVINO, CTRANSLATE2 = "openvino-genai", "ctranslate2"
_SECONDS = 60


class NotThere(Exception):
    """A peer that this machine does not have; the message names it."""


def program(peers: Path | None, name: str) -> str:
    """Path of the program `name`.

    Raises:
        NotThere: there is none.
    """
    path = peers / "bin" / name if peers else None
    if path is None or not path.is_file():
        raise NotThere(f"{name} is not there.")
    return str(path)


def python_with(peers: Path | None, package: str) -> str:
    """Path of the interpreter that has the distribution `package`.

    Raises:
        NotThere: there is no such interpreter, or it lacks the package.
    """
    python = program(peers, "python")
    if _package_version(python, package) is None:
        raise NotThere(f"{package} is not there.")
    return python


def versions(peers: Path | None) -> dict[str, str]:
    """The version of each peer, or `not there`."""
    return {
        "llama.cpp": _llama_version(peers),
        **{package: _installed_version(peers, package) for package in (OPENVINO, CTRANSLATE2)},
    }


def _llama_version(peers: Path | None) -> str:
    try:
        told = _told([program(peers, LLAMA_SERVER), "--version"])
    except NotThere:
        return "not there"
    return ", ".join(told.splitlines()[:2]).removeprefix("version: ")


def _installed_version(peers: Path | None, package: str) -> str:
    try:
        return _package_version(program(peers, "python"), package) or "not there"
    except NotThere:
        return "not there"


def _package_version(python: str, package: str) -> str | None:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    try:
        return _told([python, "-c", code]).strip()
    except subprocess.CalledProcessError:
        return None


def _told(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    return done.stdout or done.stderr
