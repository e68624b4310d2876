"""What a figure was measured on: processor, cores, instruction sets, memory, versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
)
_PACKAGES = ("torch", "transformers", "bitsandbytes", "fastapi", "uvicorn")

_LOAD_BEFORE = os.getloadavg()
"""When the command began, whoever asks later; its own load is none of it."""


def machine() -> dict[str, str]:
    """What the machine and its software are, by name."""
    processor = _processor()
    flags = set((processor.get("flags") or processor.get("Features") or "").split())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": processor.get("model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "instruction sets": " ".join(name for name in _INSTRUCTION_SETS if name in flags) or "unknown",
        "memory": f"{memory:.0f} GiB",
        "load before": " ".join(f"{value:.2f}" for value in _LOAD_BEFORE),
        "software": ", ".join([f"Python {platform.python_version()}", *_versions()]),
        "commit": _commit(),
    }


def _processor() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def package_version(package: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> list[str]:
    return [f"{package} {found}" for package in _PACKAGES if (found := package_version(package))]


def _commit() -> str:
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
