"""What builds are lent: this machine's own options, found and not written down."""

from pathlib import Path

import pytest

from deploy.image import sources

LISTED = """\
:env:.timeout='180'
global.timeout='15'
global.extra-index-url='https://name:secret@packages.example/simple'
install.find-links='/srv/wheels'
user.other='not an option of pip install'
"""


def test_variables_win_over_files() -> None:
    assert sources.parsed_pip_configuration(LISTED) == {
        "timeout": "180",
        "extra-index-url": "https://name:secret@packages.example/simple",
        "find-links": "/srv/wheels",
    }


def test_folders_that_options_name_are_lent_once_and_only_where_they_exist(tmp_path: Path) -> None:
    index, wheels = tmp_path / "index/simple", tmp_path / "wheels"
    for folder in (index, wheels / "inner"):
        folder.mkdir(parents=True)
    options = {
        "extra-index-url": f"file://{index} https://packages.example/simple",
        "find-links": f"{wheels} {wheels}/inner {tmp_path}/absent",
    }
    assert sources.local_places(options) == [index.parent, wheels]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose pip has one option with a password and whose apt knows one mirror."""
    source = tmp_path / "debian.sources"
    source.write_text(
        "Types: deb\nURIs: https://mirror.example/debian-security\n\n"
        "Types: deb\nURIs: https://mirror.example/debian\n"
    )
    monkeypatch.setattr(sources, "_source_files", lambda: [source])
    options = sources.parsed_pip_configuration(
        "global.index-url='https://name:secret@packages.example/simple'\n"
    )
    monkeypatch.setattr(sources, "pip_configuration", lambda: options)
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_the_mirror_is_the_machines(machine: Path) -> None:
    assert sources.debian_mirror() == "https://mirror.example/debian"


def test_what_is_lent_is_read_only_and_a_password_is_its_owners_alone(machine: Path) -> None:
    mounts = sources.python_mounts(machine)
    assert set(mounts[::2]) == {"--volume"}
    assert all(mount.endswith(":ro") for mount in mounts[1::2])
    assert f"{machine}/pip.conf:/etc/pip.conf:ro" in mounts
    assert (machine / "pip.conf").stat().st_mode & 0o077 == 0
    assert "index-url = https://name:secret@packages.example/simple\n" in (machine / "pip.conf").read_text()


def test_debians_images_are_not_lent_pythons_configuration(machine: Path) -> None:
    assert not [mount for mount in sources.debian_mounts(machine) if "pip" in mount]
