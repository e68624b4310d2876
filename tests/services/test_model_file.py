"""read_model_file: what is there, None for what is not, and one line for what cannot be used."""

import errno
import os
from pathlib import Path

import pytest

from app.services.model_file import InvalidModelFile, read_model_file


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_model_file(str(tmp_path), "x.json", list[int]) is None
    (tmp_path / "file").touch()
    assert read_model_file(str(tmp_path / "file"), "x.json", list[int]) is None


def test_a_file_is_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    assert read_model_file(str(tmp_path), "x.json", list[int]) == [1]


def test_a_malformed_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('["a"]')
    with pytest.raises(InvalidModelFile, match=r"^x\.json of the model cannot be used: "):
        read_model_file(str(tmp_path), "x.json", list[int])


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InvalidModelFile, match=r"^x\.json of the model cannot be read: Is a directory$"):
        read_model_file(str(tmp_path), "x.json", list[int])


def test_a_file_that_this_user_may_not_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InvalidModelFile, match=r"^x\.json of the model cannot be read: Permission denied$"):
        read_model_file(str(tmp_path), "x.json", list[int])
