"""Checkpoints as quantized GGUF files, made once with llama.cpp's own tool and kept beside the random models."""

import os
import subprocess
from pathlib import Path

from loadtests.gguf_file import write_gguf
from loadtests.peers import LLAMA_QUANTIZE, program
from loadtests.plan import Plan
from loadtests.processes import ProcessFailed


def quantized(plan: Plan, model: Path, kind: str) -> Path:
    """The GGUF file of the checkpoint in directory `model`, with weights of `kind`, such as `Q8_0`.

    Raises:
        NotThere: no llama-quantize.
        ProcessFailed: it refuses.
    """
    target = plan.model.parent.absolute() / f"{model.name}-{kind}.gguf"
    if target.exists() and target.stat().st_mtime > max(file.stat().st_mtime for file in model.iterdir()):
        return target
    tool = program(plan.peers, LLAMA_QUANTIZE)
    whole, unfinished = target.with_suffix(".whole"), target.with_suffix(".unfinished")
    try:
        write_gguf(model, whole)
        done = subprocess.run([tool, whole, unfinished, kind], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessFailed(f"{LLAMA_QUANTIZE} ended with code {done.returncode}.\n{done.stderr[-2000:]}")
        os.replace(unfinished, target)
    finally:
        whole.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    return target
