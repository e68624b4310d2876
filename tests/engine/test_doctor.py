"""The engine's side of `doctor`: what it finds about processor, device, native library and memory, and the cures."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.engine import doctor
from app.engine.config import EngineConfig
from app.engine.core import memory_plan
from app.engine.finding import Finding
from app.engine.native.library import NoCompiler
from tests.engine.core.tiny_models import tiny_checkpoint


def found(**overrides: Any) -> dict[str, Finding]:
    values: dict[str, Any] = {"model": str(tiny_checkpoint("llama")), "device": "cpu"}
    return {finding.what: finding for finding in doctor.findings(EngineConfig(**(values | overrides)))}


def test_a_machine_that_can_serve_is_well() -> None:
    findings = found()
    assert list(findings) == [
        *("processor", "PyTorch", "device", "native library"),
        *("model", "weights", "KV cache"),
    ]
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert "native kernels, int8 weights" in findings["model"].detail
    assert "at most 256 a sequence" in findings["KV cache"].detail


def test_a_gpu_that_is_not_there_ends_the_check_with_the_cure() -> None:
    findings = found(device="cuda")
    assert findings["device"].state == "failed" and "REPARTEE_DEVICE=cpu" in findings["device"].detail
    assert "weights" not in findings


def test_a_driver_without_a_cuda_build_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.touch()
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", driver)
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: False)
    finding = found()["device"]
    assert finding.state == "warning" and "CUDA build" in finding.detail


@pytest.mark.parametrize(
    ("compiler", "words"), [(None, "CXX names nobody"), (["/usr/bin/c++"], "/usr/bin/c++ cannot build it")]
)
def test_no_native_library_is_a_warning_that_says_why(
    monkeypatch: pytest.MonkeyPatch, compiler: list[str] | None, words: str
) -> None:
    def find() -> list[str]:
        if compiler is None:
            raise NoCompiler("CXX names nobody")
        return compiler

    monkeypatch.setattr(doctor, "native_library", lambda: None)
    monkeypatch.setattr(doctor, "compiler", find)
    finding = found()["native library"]
    assert finding.state == "warning"
    assert words in finding.detail and "goes through PyTorch" in finding.detail


def test_a_library_for_an_older_processor_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "instruction_set_of", lambda library: "portable")
    monkeypatch.setattr(doctor, "supported_sets", lambda: ["avx512-amx", "portable"])
    finding = found()["native library"]
    assert finding.state == "warning" and "portable, though the processor runs avx512-amx" in finding.detail


def test_weights_that_do_not_fit_name_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: 1000)
    finding = found()["weights"]
    assert finding.state == "failed"
    assert "REPARTEE_QUANTIZATION" in finding.detail and "REPARTEE_MODEL" in finding.detail


def test_weights_that_no_machine_holds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(memory_plan, "packed_bytes", none)
    finding = found()["weights"]
    assert finding.state == "failed" and "REPARTEE_MODEL" in finding.detail


@pytest.mark.parametrize(
    ("tokens", "words"), [(16, "fewer than one sequence"), (10**10, "Lower REPARTEE_KV_CACHE_TOKENS")]
)
def test_a_cache_that_does_not_fit_names_the_settings(tokens: int, words: str) -> None:
    finding = found(kv_cache_tokens=tokens)["KV cache"]
    assert finding.state == "failed" and words in finding.detail


@pytest.mark.parametrize("content", ["{", '{"model_type": "llama", "num_attention_heads": 0}'])
def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    findings = found(model=str(tmp_path))
    assert findings["model"].state == "failed" and "\n" not in findings["model"].detail
    assert list(findings)[-1] == "model"


def test_without_a_model_only_the_machine_is_looked_at() -> None:
    assert list(found(model=""))[-1] == "native library"


def test_the_process_writes_a_finding_a_line() -> None:
    config = EngineConfig(model=str(tiny_checkpoint("llama")), device="cpu")
    command = [sys.executable, "-m", "app.engine.doctor"]
    run = subprocess.run(command, input=msgspec.json.encode(config), capture_output=True, check=True)
    findings = [msgspec.json.decode(line, type=Finding) for line in run.stdout.splitlines()]
    assert [finding.state for finding in findings] == ["ok"] * 7
    assert run.stderr == b""
