"""Peers are found in the environment that is named, told by version, and missed without an error."""

import os
import sys
from pathlib import Path

import pytest

from loadtests.gguf_models import quantized
from loadtests.notes import peers_table
from loadtests.peers import LLAMA_QUANTIZE, LLAMA_SERVER, NotThere, program, python_with, versions
from loadtests.plan import Plan
from loadtests.processes import ProcessFailed
from loadtests.random_model import random_model


def install(directory: Path, name: str, script: str) -> Path:
    """A program `name` in the environment `directory`."""
    path = directory / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """One that holds this interpreter, and a llama-server that only knows its version."""
    directory = tmp_path / "peers"
    install(directory, "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    install(
        directory, LLAMA_SERVER, "#!/bin/sh\necho 'version: 1.2 (build 3)' >&2\necho 'built with X' >&2\n"
    )
    return directory


def test_nothing_is_there_without_an_environment() -> None:
    assert set(versions(None).values()) == {"not there"}
    with pytest.raises(NotThere, match=LLAMA_SERVER):
        program(None, LLAMA_SERVER)


def test_programs_and_packages_are_found_and_told(environment: Path) -> None:
    assert program(environment, LLAMA_SERVER) == str(environment / "bin" / LLAMA_SERVER)
    assert python_with(environment, "msgspec") == str(environment / "bin" / "python")
    assert versions(environment)["llama.cpp"] == "1.2 (build 3), built with X"


def test_a_missing_package_is_not_there(environment: Path) -> None:
    assert versions(environment)["openvino-genai"] == "not there"
    with pytest.raises(NotThere, match="no-such-package"):
        python_with(environment, "no-such-package")


def test_the_table_of_peers_tells_versions_and_commands(environment: Path) -> None:
    told = peers_table(Plan(Path("m"), threads=3, peers=environment))
    options = "--threads 3 --parallel 16 --ctx-size 16384 --cache-ram 0"
    assert f"| llama-server | 1.2 (build 3), built with X | `llama-server --model GGUF {options}` |" in told
    assert "| CTranslate2 | not there |" in told


QUANTIZE = """#!/bin/sh
echo "$3" >> "$(dirname "$0")/calls"
head -c 4 "$1" > "$2"
"""


def test_a_model_is_quantized_once(environment: Path, tmp_path: Path) -> None:
    tool = install(environment, LLAMA_QUANTIZE, QUANTIZE)
    plan = Plan(random_model("tiny", tmp_path / "models"), peers=environment)
    for _ in range(2):
        assert quantized(plan, plan.model, "Q8_0").read_bytes() == b"GGUF"
    assert (tool.parent / "calls").read_text() == "Q8_0\n"
    assert len(list(plan.model.parent.iterdir())) == 2


def test_a_model_that_was_changed_is_quantized_again(environment: Path, tmp_path: Path) -> None:
    tool = install(environment, LLAMA_QUANTIZE, QUANTIZE)
    plan = Plan(random_model("tiny", tmp_path / "models"), peers=environment)
    made = quantized(plan, plan.model, "Q4_0")
    newer = made.stat().st_mtime_ns + 10**9
    os.utime(plan.model / "config.json", ns=(newer, newer))
    quantized(plan, plan.model, "Q4_0")
    assert (tool.parent / "calls").read_text() == "Q4_0\nQ4_0\n"


def test_a_tool_that_fails_leaves_nothing(environment: Path, tmp_path: Path) -> None:
    install(environment, LLAMA_QUANTIZE, "#!/bin/sh\necho 'no such kind' >&2\nexit 1\n")
    plan = Plan(random_model("tiny", tmp_path / "models"), peers=environment)
    with pytest.raises(ProcessFailed, match="no such kind"):
        quantized(plan, plan.model, "Q9_9")
    assert list(plan.model.parent.iterdir()) == [plan.model]
