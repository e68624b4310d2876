"""The engine's side of `python -m app doctor`: what only a process with PyTorch can find out.

`python -m app.engine.doctor` reads an `EngineConfig` as JSON from standard input and writes one `Finding` a line.
"""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch
from transformers.utils import logging as transformers_logging

from app.engine.config import EngineConfig
from app.engine.core.memory_plan import MemoryPlan, plan_memory
from app.engine.core.model_loader import ModelLoadError, choose_device
from app.engine.core.model_runner import OutOfMemory
from app.engine.finding import Finding
from app.engine.native.library import NoCompiler, compiler, instruction_set_of, native_library, supported_sets

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
LIGHTER = "Set REPARTEE_QUANTIZATION to a smaller format, or REPARTEE_MODEL to a smaller model"


def findings(config: EngineConfig) -> Iterator[Finding]:
    """Look at processor, PyTorch, device, native library and memory, as a start with `config` would."""
    yield _processor()
    yield Finding("PyTorch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    try:
        device = choose_device(config.device)
    except ModelLoadError as error:
        yield Finding(
            "device", "failed", f"{error.message} Install a CUDA build, or set REPARTEE_DEVICE=cpu."
        )
        return
    yield _device(device)
    if device.type == "cpu":
        yield _native()
    if config.model:
        yield from _memory(config)


def _processor() -> Finding:
    name = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?"
    )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("processor", "ok", f"{name}, {usable} of {os.cpu_count()} cores, {supported_sets()[0]}")


def _device(device: torch.device) -> Finding:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return Finding("device", "ok", f"{name}, {mebibytes(free)} of {mebibytes(total)} free")
    if NVIDIA_DRIVER.exists() and not torch.cuda.is_available():
        return Finding(
            "device",
            "warning",
            f"cpu, though there is an NVIDIA driver: PyTorch {torch.__version__} sees no GPU. Install a CUDA build "
            "(make serve TORCH=...).",
        )
    return Finding("device", "ok", "cpu")


def _native() -> Finding:
    """Builds the library where it is missing, as a start would."""
    library = native_library()
    if library is None:
        slow = "everything goes through PyTorch, without int8 and int4"
        try:
            return Finding("native library", "warning", f"{compiler()[0]} cannot build it, see above: {slow}")
        except NoCompiler as error:
            return Finding("native library", "warning", f"{error}. Without it {slow}.")
    found, best = instruction_set_of(library), supported_sets()[0]
    if found != best:
        return Finding(
            "native library",
            "warning",
            f"{found}, though the processor runs {best}: the compiler is too old for it. Name a newer one in CXX.",
        )
    return Finding("native library", "ok", f"{found}, {library._name}")


def _memory(config: EngineConfig) -> Iterator[Finding]:
    try:
        plan = plan_memory(config)
    except ModelLoadError as error:
        yield Finding("model", "failed", error.message)
        return
    except MemoryError:
        yield Finding("weights", "failed", f"more than the machine can ever hold. {LIGHTER}.")
        return
    except Exception as error:  # libraries raise anything for files that are not what they should be
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding("model", "failed", f"its configuration cannot be used: {detail}")
        return
    load = plan.load
    count = f"{load.parameters / 1e6:,.1f} M parameters, " if load.parameters else ""
    yield Finding("model", "ok", f"{count}{plan.kernels} kernels, {load.quantization} weights: {load.reason}")
    yield _weights(plan)
    yield _cache(plan, config)


def _weights(plan: MemoryPlan) -> Finding:
    detail = f"{mebibytes(plan.weight_bytes)} of {mebibytes(plan.free_bytes)} that are free"
    if plan.weight_bytes > plan.free_bytes:
        return Finding("weights", "failed", f"{detail}. {LIGHTER}.")
    return Finding("weights", "ok", detail)


def _cache(plan: MemoryPlan, config: EngineConfig) -> Finding:
    try:
        tokens = plan.cache_blocks(config) * config.block_size
    except OutOfMemory as error:
        return Finding("KV cache", "failed", error.message)
    size = tokens * plan.cache_token_bytes
    longest = f"at most {plan.load.max_model_len:,} a sequence"
    detail = f"{tokens:,} tokens in {mebibytes(size)}, {longest}"
    if plan.weight_bytes + size > plan.free_bytes:
        return Finding("KV cache", "failed", f"{detail}: more than is free. Lower REPARTEE_KV_CACHE_TOKENS.")
    return Finding("KV cache", "ok", detail)


def mebibytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**20:,.0f} MiB"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> int:
    """Write what is found, each line as soon as it is known."""
    logging.basicConfig(level=logging.ERROR)  # what a warning would say is in the findings
    transformers_logging.set_verbosity_error()
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=EngineConfig)
    for finding in findings(config):
        sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
