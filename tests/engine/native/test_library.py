"""The native library: where it may lie, and what happens where it cannot be built."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.native import library
from app.engine.native.library import native_library, supported_sets
from app.engine.native.linear import linear_kernel


@pytest.fixture
def fresh_library() -> Iterator[None]:
    native_library.cache_clear()
    yield
    native_library.cache_clear()


def test_without_a_compiler_there_is_no_kernel(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "_library_path", lambda name: tmp_path / "build" / "x.so")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert linear_kernel() is None
    assert "no C++ compiler" in caplog.text


def test_a_compiler_that_is_not_there_is_named_in_one_line(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "_library_path", lambda name: tmp_path / "build" / "x.so")
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    assert native_library() is None
    (line,) = caplog.messages
    assert "CXX names no-such-compiler, which is no program here" in line and "Errno" not in line


@pytest.mark.parametrize("built", [True, False])
def test_the_exit_code_tells_make_whether_there_is_a_library(tmp_path: Path, built: bool) -> None:
    assert native_library() is not None
    here = Path(library.__file__).parents[3]
    if not built:
        ignored = shutil.ignore_patterns("build", "__pycache__")
        shutil.copytree(here / "app", tmp_path / "app", ignore=ignored)
    run = subprocess.run(
        [sys.executable, "-m", "app.engine.native.library"],
        cwd=here if built else tmp_path,
        env=os.environ | {"CXX": "no-such-compiler", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    lines = run.stderr.splitlines()
    assert (run.returncode, len(lines)) == ((0, 0) if built else (1, 1)), run.stderr
    assert built or "no-such-compiler" in lines[0]


def test_a_compiler_that_fails_leaves_no_kernel_and_no_file(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "_library_path", lambda name: tmp_path / "build" / "x.so")
    monkeypatch.setenv("CXX", "false")
    assert linear_kernel() is None
    assert not (tmp_path / "build" / "x.so").exists()
    assert subprocess.run(["ls", tmp_path / "build"], capture_output=True, check=True).stdout == b""


def test_a_compiler_older_than_the_processor_builds_for_the_next_best_set(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "_library_path", lambda name: tmp_path / f"{name}.so")
    monkeypatch.setattr(library, "INSTRUCTION_SETS", {"newest": ["newest"], "portable": []})
    monkeypatch.setattr(library, "_processor_flags", lambda: "flags : newest")
    assert supported_sets() == ["newest", "portable"]
    assert native_library() is not None
    assert [file.name for file in tmp_path.iterdir()] == ["portable.so"]


def test_tiles_that_the_system_does_not_grant_are_not_used(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = " ".join(
        {one.replace("-", "_") for needed in library.INSTRUCTION_SETS.values() for one in needed}
    )
    monkeypatch.setattr(library, "_processor_flags", lambda: f"flags : {every}")
    monkeypatch.setattr(library, "_tiles_granted", lambda: True)
    assert supported_sets() == list(library.INSTRUCTION_SETS)
    monkeypatch.setattr(library, "_tiles_granted", lambda: False)
    assert supported_sets() == list(library.INSTRUCTION_SETS)[1:]


def test_a_set_that_the_processor_lacks_has_no_library(
    fresh_library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_processor_flags", lambda: "flags : sse2")
    assert native_library("avx2") is None


def test_what_one_user_builds_another_can_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An image is built as root and run as another user."""
    old = os.umask(0o022)
    try:
        library._build(tmp_path / "build" / "x.so", "portable")
    finally:
        os.umask(old)
    for path, needed in ((tmp_path / "build", 0o005), (tmp_path / "build" / "x.so", 0o004)):
        assert path.stat().st_mode & needed == needed


def test_a_directory_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert library._own_directory(own) == own and own.stat().st_mode & 0o077 == 0
    own.chmod(0o777)
    with pytest.raises(OSError, match="own directory"):
        library._own_directory(own)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="own directory"):
        library._own_directory(tmp_path / "link")
