"""Builds the native library with the compiler that is found, and loads it; without a compiler there is none."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("linear.cpp")
_FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-fopenmp",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Werror",
]


@cache
def native_library() -> ctypes.CDLL | None:
    """The loaded library, built first where this machine has no current one; None, with a log line, without."""
    try:
        path = _library_path()
        if not path.exists():
            _build(path)
        _share_openmp()
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        logger.warning("no native kernels, PyTorch's are used instead: %s", error)
        return None


def _library_path() -> Path:
    """Where the library for this source, these flags and this processor lies."""
    key = hashlib.sha256(
        _SOURCE.read_bytes() + " ".join(_FLAGS).encode() + _processor().encode()
    ).hexdigest()[:16]
    beside = _SOURCE.parent / "build"
    if os.access(beside if beside.exists() else _SOURCE.parent, os.W_OK) or (beside / f"{key}.so").exists():
        return beside / f"{key}.so"
    return Path(tempfile.gettempdir()) / f"repartee-native-{os.getuid()}" / f"{key}.so"


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), platform.machine())
    except OSError:
        return platform.machine() + platform.processor()


def _build(path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise OSError("no C++ compiler was found")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        compiled, linked = Path(directory) / "linear.o", Path(directory) / "linear.so"
        subprocess.run([compiler, *_FLAGS, "-c", str(_SOURCE), "-o", str(compiled)], check=True)
        # Linked without -fopenmp: the OpenMP calls go to PyTorch's own runtime, see _share_openmp.
        subprocess.run([compiler, "-shared", str(compiled), "-o", str(linked)], check=True)
        linked.replace(path)


def _share_openmp() -> None:
    """Make PyTorch's OpenMP runtime visible: a second one would bring a second team that spins on the same cores."""
    runtimes = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    ctypes.CDLL(str(runtimes[0]) if runtimes else "libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
