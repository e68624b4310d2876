"""What should not lie in an image is found."""

from pathlib import Path

import pytest

from deploy.image.left_overs import left_overs, told

PACKAGES = "opt/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    "name",
    [
        "etc/pip.conf",
        "usr/bin/g++",
        "usr/local/bin/gcc",
        f"{PACKAGES}/pip/_internal",
        f"{PACKAGES}/torch/include",
        f"{PACKAGES}/sympy/core/tests",
        "srv/tests",
        "srv/requirements",
        "srv/wheels/torch.whl",
    ],
)
def test_it_is_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert left_overs(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "usr/share/gcc/python",
        "usr/share/python-wheels/pip.whl",
        f"{PACKAGES}/torch/testing",
        f"{PACKAGES}/numpy/testing",
        "srv/app/engine",
        "srv/models",
    ],
)
def test_what_belongs_there_is_not(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    assert left_overs(tmp_path) == []


def test_an_option_of_pip_in_the_history_is_told_by_its_name_alone() -> None:
    options = {
        "index-url": "https://name:secret@packages.example/simple",
        "cert": "/etc/ssl/certs/ca-certificates.crt",
        "timeout": "15",
    }
    history = "RUN pip install --index-url https://name:secret@packages.example/simple --timeout 15"
    assert told(f"{history} /etc/ssl/certs/ca-certificates.crt", options) == ["index-url"]
    assert told("RUN pip install torch", options) == []
