"""model_directory: a directory as it is, a hub id through the hub's client, anything else refused with a reason."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from app.model_source import ModelNotAvailable, model_directory


def make_model(directory: Path) -> None:
    """A directory that looks like a model's."""
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").touch()


def test_a_directory_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_directory(str(tmp_path / "model")) == tmp_path / "model"
    assert model_directory("model") == tmp_path / "model"
    assert model_directory("~/model") == tmp_path / "model"


@pytest.mark.parametrize("model", ["/nowhere/at/all", "../model", "a/b/c", "-x", "a b", "maker/../../etc"])
def test_what_is_neither_directory_nor_hub_id_is_refused(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir("/")
    with pytest.raises(ModelNotAvailable, match="REPARTEE_MODEL"):
        model_directory(model)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("~nosuchuser/m", "the home of a user who has none"),
        ("m" * 300, "File name too long"),
        ("/" + "m" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_the_reason(model: str, why: str) -> None:
    with pytest.raises(ModelNotAvailable, match=rf"^REPARTEE_MODEL names {model}, .*{why}\.$"):
        model_directory(model)


@pytest.mark.parametrize("locked", ["", "model"])
def test_a_directory_that_this_user_may_not_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    make_model(tmp_path / "model")
    outside = tmp_path / locked
    stat = os.stat

    def as_another_user(path: Any, **options: Any) -> os.stat_result:
        if outside in Path(path).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr("os.stat", as_another_user)
    with pytest.raises(ModelNotAvailable, match=r"^REPARTEE_MODEL names .*: Permission denied\.$"):
        model_directory(str(tmp_path / "model"))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotAvailable):
        model_directory(str(tmp_path / "model.safetensors"))


def test_a_hub_id_is_fetched_without_pickles_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path)
    asked: list[tuple[str, list[str]]] = []

    def download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        assert not local_files_only
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert model_directory("maker/small-1b") == tmp_path
    ((name, patterns),) = asked
    assert name == "maker/small-1b"
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in patterns)


def test_an_unreachable_hub_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ModelNotAvailable, match=r"maker/small-1b.*no route"):
        model_directory("maker/small-1b")


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    for model in (str(tmp_path), "maker/small-1b"):
        with pytest.raises(ModelNotAvailable, match=r"^REPARTEE_MODEL names .* has no tokenizer.json\.$"):
            model_directory(model)
