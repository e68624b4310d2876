"""What the Dockerfile promises without being built; deploy/image builds and runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from tests.service.running_service import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions() -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[str]] = {}
    for line in instructions():
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        if found:
            list(found.values())[-1].append(line)
    return found


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_base_image_is_the_only_argument_before_the_stages() -> None:
    first, second = instructions()[:2]
    assert first.startswith("ARG BASE_IMAGE=")
    assert second.startswith("FROM ")


def test_every_stage_is_of_the_base_image() -> None:
    bases = {lines[0].split()[1] for lines in stages().values()}
    assert bases == {"${BASE_IMAGE}", "packages", "runtime"}


def test_the_default_target_is_for_processors() -> None:
    assert list(stages())[-2:] == ["cuda", "cpu"]


def test_the_container_runs_as_a_number_and_is_stopped_by_sigterm() -> None:
    runtime = "\n".join(stages()["runtime"])
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", runtime, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in runtime
    assert re.search(r'^ENTRYPOINT \["', runtime, re.MULTILINE)


def test_nothing_is_run_where_the_layers_are_shipped() -> None:
    """What a build lends to a RUN leaves its mount points in the layer."""
    assert not [line for line in stages()["runtime"] + stages()["cpu"] if line.startswith("RUN ")]


def test_the_dockerfile_has_no_heredoc() -> None:
    assert "<<" not in DOCKERFILE


def test_the_health_check_asks_livez_in_python() -> None:
    check = next(line for line in instructions() if line.startswith("HEALTHCHECK"))
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert command[1] == "-c"
    compile(command[2], "healthcheck", "exec")
    assert "/livez" in command[2]


@pytest.mark.parametrize("version", [None, "13.0"])
def test_the_cuda_target_refuses_a_build_of_torch_without_cuda(version: str | None) -> None:
    (run,) = [line for line in stages()["cuda"] if line.startswith("RUN ")]
    source = json.loads(run.removeprefix("RUN "))[2]
    fake = (
        f"import sys, types; torch = types.SimpleNamespace(version=types.SimpleNamespace(cuda={version!r}))"
    )
    fake += "; sys.modules['torch'] = torch"
    done = subprocess.run(
        [sys.executable, "-c", f"{fake}\n{source}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (version is None)
    assert ("TORCH_INDEX" in done.stderr) == (version is None)


def test_the_version_of_the_image_is_that_of_the_project() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    label = re.search(r'image\.version="(.+)"', DOCKERFILE)
    assert project and label
    assert project[1] == label[1]


def test_the_revision_reaches_the_label_and_the_service() -> None:
    assert 'org.opencontainers.image.revision="${REVISION}"' in DOCKERFILE
    assert f'{PREFIX}REVISION="${{REVISION}}"' in DOCKERFILE


def test_the_dockerfile_sets_only_settings_that_exist() -> None:
    used = set(re.findall(rf"{PREFIX}[A-Z_]+(?==)", DOCKERFILE))
    assert used
    assert used <= {PREFIX + name.upper() for name in Settings.model_fields}


def allowed() -> list[str]:
    return re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    copies = [
        line.split()[1:-1] for line in instructions() if line.startswith("COPY ") and "--from" not in line
    ]
    sources = [source for copy in copies for source in copy]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in allowed(), source


def test_only_what_is_copied_reaches_a_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if line and not line.startswith("#")) == "*"
    assert all(name in DOCKERFILE for name in allowed())
