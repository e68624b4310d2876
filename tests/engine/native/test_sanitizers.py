"""The native sources under the compiler's sanitizers: no index out of its memory, nothing undefined, no race."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.engine.native.library import INSTRUCTION_SETS, supported_sets

SOURCES = Path(__file__).parents[3] / "app" / "engine" / "native" / "src"
DRIVER = Path(__file__).with_name("random_steps.cpp")


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_random_steps_under_a_sanitizer(sanitizer: str, tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    program = tmp_path / "random_steps"
    extensions = [f"-m{name}" for name in INSTRUCTION_SETS[supported_sets()[0]]]
    flags = ["-std=c++17", "-O1", "-g", "-pthread", "-ffp-contract=off", "-Wno-psabi", *extensions]
    flags += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{SOURCES}"]
    sources = [str(DRIVER), str(SOURCES / "decoder.cpp"), str(SOURCES / "burst.cpp")]
    subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
    run = subprocess.run([program, "3"], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout) == 3 * (3 * 101 * 77 + 2 * 12)
