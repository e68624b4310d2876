"""The native library: built with the compiler that is found, once for each instruction set, and loaded."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

_SOURCES = Path(__file__).with_name("src")
_FLAGS = [
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-fopenmp",
    "-pthread",
    "-fno-fast-math",
    "-ffp-contract=off",
    "-Wno-psabi",
]
_AVX512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"]
INSTRUCTION_SETS: dict[str, list[str]] = {
    "avx512-amx": ["avx2", "fma", *_AVX512, "avx512bf16", "amx-tile", "amx-int8"],
    "avx512-bf16": ["avx2", "fma", *_AVX512, "avx512bf16"],
    "avx512-vnni": ["avx2", "fma", *_AVX512],
    "avx2": ["avx2", "fma"],
    "portable": [],
}
"""What the library is built for, best first, with the compiler's names of the extensions that it uses."""
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""The system call of Linux on x86-64, its ARCH_REQ_XCOMP_PERM, and the number of the registers that it is asked for."""


def supported_sets() -> list[str]:
    """The instruction sets that this processor can run, best first."""
    # The compiler's names are the system's without the underscores, or with dashes instead.
    flags = {flag.replace("_", "") for flag in _processor_flags().split()}
    if not _tiles_granted():
        flags -= {"amxtile"}
    return [
        name
        for name, needed in INSTRUCTION_SETS.items()
        if all(one.replace("-", "") in flags for one in needed)
    ]


class NoCompiler(OSError):
    """There is none, or not the one that was asked for."""


@cache
def native_library(instruction_set: str | None = None) -> ctypes.CDLL | None:
    """The library for an instruction set, by default for the best one that can be built; None where there is none.

    A set that the processor cannot run has none. One that cannot be built (its compiler is older than the processor, or
    fails) leaves a log line, and so does the lack of a compiler.
    """
    for name in supported_sets():
        if instruction_set not in (None, name):
            continue
        try:
            path = _library_path(name)
            if not path.exists():
                _build(path, name)
            _share_openmp()
            return _declared(ctypes.CDLL(str(path)))
        except NoCompiler as error:
            logger.warning("no native library: %s", error)
            return None
        except subprocess.CalledProcessError as error:
            logger.warning("no native library for %s: %s failed; what it said is above", name, error.cmd[0])
        except OSError as error:
            logger.warning("no native library for %s: %s", name, error)
    return None


@cache
def _tiles_granted() -> bool:
    """Whether the system lets this process use the tile registers of AMX: Linux wants to be asked once."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def instruction_set_of(library: ctypes.CDLL) -> str:
    """The one that a library was built for."""
    return Path(library._name).stem.rpartition("-")[0]


def _processor_flags() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""


def _library_path(name: str) -> Path:
    """Where the library of these sources for one instruction set lies."""
    sources = b"".join(file.read_bytes() for file in sorted(_SOURCES.iterdir()))
    key = hashlib.sha256(sources + " ".join(_flags(name)).encode()).hexdigest()[:16]
    file, beside = f"{name}-{key}.so", _SOURCES.parent / "build"
    if os.access(beside if beside.exists() else _SOURCES.parent, os.W_OK) or (beside / file).exists():
        return beside / file
    return _own_directory(Path(tempfile.gettempdir()) / f"repartee-native-{os.getuid()}") / file


def _own_directory(path: Path) -> Path:
    """`path`, made if it is not there. What lies in it is run as code, so nobody else may write there.

    Raises:
        OSError: it is somebody else's.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{path} is not this user's own directory")
    return path


def _flags(name: str) -> list[str]:
    return [*_FLAGS, *(f"-m{extension}" for extension in INSTRUCTION_SETS[name])]


def compiler() -> list[str]:
    """The command of the C++ compiler: what `CXX` says, else the system's.

    Raises:
        NoCompiler: it is not there; the message says what to do.
    """
    if wanted := shlex.split(os.environ.get("CXX", "")):
        if shutil.which(wanted[0]) is None:
            raise NoCompiler(f"CXX names {wanted[0]}, which is no program here: install it, or unset CXX")
        return wanted
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        raise NoCompiler("no C++ compiler was found: install g++, or name one in CXX")
    return [found]


def _build(path: Path, name: str) -> None:
    compile_ = compiler()
    path.parent.mkdir(
        parents=True, exist_ok=True
    )  # others may read it: an image is built by one user and run by another
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        objects = []
        for source in sorted(_SOURCES.glob("*.cpp")):
            objects.append(str(Path(directory) / f"{source.stem}.o"))
            subprocess.run([*compile_, *_flags(name), "-c", str(source), "-o", objects[-1]], check=True)
        # Linked without -fopenmp: the OpenMP calls go to PyTorch's own runtime, see _share_openmp.
        linked = Path(directory) / "native.so"
        subprocess.run([*compile_, "-shared", "-pthread", *objects, "-o", str(linked)], check=True)
        linked.replace(path)


def _share_openmp() -> None:
    """Make PyTorch's OpenMP runtime visible: a second one would bring a second team that spins on the same cores."""
    runtimes = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    ctypes.CDLL(str(runtimes[0]) if runtimes else "libgomp.so.1", mode=ctypes.RTLD_GLOBAL)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions, as the sources define them."""
    pointer, number, small = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    functions: dict[str, tuple[Any, list[Any]]] = {
        "repartee_linear_bf16": (None, [*[pointer] * 4, *[number] * 3, small]),
        "repartee_decoder_new": (small, [pointer, small, pointer]),
        "repartee_decoder_free": (None, [pointer]),
        "repartee_decoder_set_bf16": (small, [pointer, number, small, pointer]),
        "repartee_decoder_set_float32": (small, [pointer, number, small, pointer]),
        "repartee_decoder_set_bias": (small, [pointer, number, small, pointer]),
        "repartee_decoder_set_norm": (small, [pointer, number, small, pointer]),
        "repartee_decoder_allocate": (small, [pointer, number, number]),
        "repartee_decoder_bytes": (number, [pointer]),
        "repartee_decoder_step": (small, [pointer, pointer, pointer, small]),
        "repartee_decoder_burst": (small, [pointer, pointer, small]),
        "repartee_log_probabilities": (small, [pointer, number, pointer, pointer, number, pointer]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def build_all() -> None:
    """Build the library for every instruction set, for an image that will run on other machines and has no compiler.

    Raises:
        OSError: there is no compiler.
        subprocess.CalledProcessError: it failed.
    """
    for name, extensions in INSTRUCTION_SETS.items():
        if not extensions or platform.machine() in ("x86_64", "AMD64"):
            _build(_library_path(name), name)


if __name__ == "__main__":
    if "--all" in sys.argv[1:]:
        build_all()
    elif native_library() is None:  # for this machine; the warning says why it cannot be built
        sys.exit(1)
