"""What was made is removed, whatever happens: podman and buildah are stand-ins that note what they are told."""

from pathlib import Path

import pytest

from deploy.image.containers import own_storage
from deploy.image.tools import CommandFailed


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    noted = tmp_path / "calls"
    for name in ("podman", "buildah"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {noted}\n[ "$CONTAINERS_STORAGE_CONF" ] || exit 9\n'
            'case "$*" in *broken*) echo no such thing >&2; exit 125;; esac\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return noted


class Halt(BaseException):
    """As Ctrl-C."""


def test_all_is_removed_at_the_end_also_after_an_interrupt(calls: Path, tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    with pytest.raises(Halt), own_storage(folder, keep_images=False) as containers:
        assert str(folder) in (folder / "storage.conf").read_text()
        containers.podman("run", "something")
        raise Halt
    told = calls.read_text()
    for command in ("podman rm --force --all", "podman pod rm --force --all", "podman rmi --force --all"):
        assert command in told
    assert not folder.exists()


def test_images_are_kept_where_asked(calls: Path, tmp_path: Path) -> None:
    with own_storage(tmp_path / "storage", keep_images=True):
        pass
    assert "podman rm --force --all" in calls.read_text()
    assert "rmi" not in calls.read_text()
    assert (tmp_path / "storage").exists()


def test_a_removal_that_fails_stops_no_other(calls: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin/podman"
    program.write_text(program.read_text().replace("*broken*", "*pod*rm*"))
    with own_storage(tmp_path / "storage", keep_images=False):
        pass
    assert "podman rmi" in calls.read_text()


def test_a_command_that_fails_says_what_it_said(calls: Path, tmp_path: Path) -> None:
    with own_storage(tmp_path / "storage", keep_images=True) as containers:
        with pytest.raises(CommandFailed, match="code 125:\nno such thing"):
            containers.podman("broken")
        assert containers.logs("broken") == ""
