"""What surrounds the code agrees with it: locks, Makefile, README, container and dashboard."""

import itertools
import os
import re
import shutil
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest

from app.settings import EMBEDDED_MODEL, PREFIX
from docs.settings_table import settings_table, with_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LOCKS = ("runtime.txt", "scale.txt", "dev.txt")


def lock_entries(name: str) -> dict[str, list[str]]:
    """The lines after each `name==version` of a lock, by `name==version`."""
    entries: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            entries[line.split()[0]] = []
        else:
            entries[list(entries)[-1]].append(line.strip())
    return entries


def names(lock: str) -> set[str]:
    return {entry.split("==")[0] for entry in lock_entries(lock)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_an_exact_version_and_a_hash(lock: str) -> None:
    entries = lock_entries(lock)
    assert entries
    for entry, lines in entries.items():
        assert re.fullmatch(r"[a-z0-9._-]+==[\w.!+]+", entry)
        assert any(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines), entry


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_no_requirements_file_names_an_index_or_a_place(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(
        r"^\s*(--(extra-)?index-url|-i|-f|--find-links|--trusted-host)\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_brings_a_build_of_torch(lock: str) -> None:
    found = {name for name in names(lock) if re.match(r"(torch|triton|nvidia-|cuda-)", name)}
    assert found <= {"nvidia-ml-py"}  # one Python file that asks the driver


def test_the_lock_holds_what_torch_depends_on() -> None:
    needed = {
        re.split(r"[ ;<>=!~\[]", line)[0].lower()
        for line in requires("torch") or []
        if "extra ==" not in line and not re.match(r"(triton|nvidia-|cuda-)", line)
    }
    assert needed <= names("runtime.txt")


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(LOCKS, 2)])
def test_all_locks_agree_on_versions(first: str, second: str) -> None:
    shared = names(first) & names(second)
    assert shared
    assert {entry for entry in lock_entries(second) if entry.split("==")[0] in shared} <= set(
        lock_entries(first)
    )


def test_every_direct_requirement_is_locked() -> None:
    for source, lock in ((lock.replace(".txt", ".in"), lock) for lock in LOCKS):
        lines = (ROOT / "requirements" / source).read_text().splitlines()
        wanted = {re.split(r"[;<>=\[]", line)[0].strip() for line in lines if re.match(r"[a-z]", line)}
        assert wanted <= names(lock)


def test_the_settings_table_is_current() -> None:
    assert with_table(README) == README, "run `make docs`"


def test_a_settings_table_out_of_date_is_seen() -> None:
    assert with_table(README.replace(f"| `{PREFIX}PORT` |", "| `OLD` |")) == README


def test_the_settings_table_lists_the_values_of_a_choice() -> None:
    (row,) = [line for line in settings_table().splitlines() if "`REPARTEE_DEVICE`" in line]
    assert "One of `auto`, `cpu`, `cuda`." in row


def test_the_settings_table_names_no_place_of_this_machine() -> None:
    assert str(ROOT) in EMBEDDED_MODEL
    assert str(ROOT) not in README
    assert f"`{PREFIX}MODEL` | `models/" in README


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(
        re.findall(r"\bmake ([a-z-]+)", "\n".join(re.findall(r"```sh\n.*?```|`make [^`]+`", README, re.S)))
    )
    assert {"serve", "test", "check"} <= named
    assert named <= makefile_targets()


def test_every_make_target_is_phony_and_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert phony == described == makefile_targets()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, empty locks and a `.venv` whose Python records each call."""
    (tmp_path / "requirements").mkdir()
    for name in ("runtime.txt", "dev.txt", "torch.txt"):
        (tmp_path / "requirements" / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> calls\ncase "$*" in *"$FAIL_ON"*) exit 1;; esac\n')
    python.chmod(0o755)
    return tmp_path


def make(checkout: Path, *arguments: str, fail_on: str = "nothing") -> tuple[int, list[str]]:
    """Run make; the exit status, and the arguments of each call of the `.venv`'s Python."""
    (checkout / "calls").write_text("")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "FAIL_ON": fail_on}
    done = subprocess.run(
        ["make", *arguments], cwd=checkout, env=environment, capture_output=True, timeout=60
    )
    return done.returncode, (checkout / "calls").read_text().splitlines()


def test_serve_installs_once_and_then_only_serves(checkout: Path) -> None:
    status, calls = make(checkout, "serve")
    assert status == 0
    assert [call.rsplit(" ", 1)[-1] for call in calls] == [
        "--version",
        "requirements/runtime.txt",
        "requirements/torch.txt",
        "app.engine.native.library",
        "app",
    ]
    assert make(checkout, "serve") == (0, ["-m app"])


def test_a_failed_installation_is_done_again(checkout: Path) -> None:
    status, _ = make(checkout, "serve", fail_on="torch.txt")
    assert status != 0
    _, calls = make(checkout, "serve")
    assert [call.rsplit(" ", 1)[-1] for call in calls] == [
        "requirements/torch.txt",
        "app.engine.native.library",
        "app",
    ]


def test_changed_native_sources_are_compiled(checkout: Path) -> None:
    source = checkout / "app/engine/native/src/some.h"
    source.parent.mkdir(parents=True)
    source.touch()
    make(checkout, "serve")
    stamp = (checkout / ".venv/.native").stat().st_mtime
    os.utime(source, (stamp + 10, stamp + 10))
    assert make(checkout, "serve") == (0, ["-m app.engine.native.library", "-m app"])


def test_a_changed_lock_is_installed(checkout: Path) -> None:
    make(checkout, "serve")
    stamp = (checkout / ".venv/.runtime").stat().st_mtime
    lock = checkout / "requirements/runtime.txt"
    os.utime(lock, (stamp + 10, stamp + 10))
    _, calls = make(checkout, "serve")
    assert [call.rsplit(" ", 1)[-1] for call in calls] == ["requirements/runtime.txt", "app"]


def test_another_torch_is_installed_and_the_first_one_again_after_it(checkout: Path) -> None:
    make(checkout, "serve")
    _, calls = make(checkout, "serve", "TORCH=torch==2.11.0")
    assert [call.rsplit(" ", 1)[-1] for call in calls] == ["torch==2.11.0", "app"]
    _, calls = make(checkout, "serve")
    assert [call.rsplit(" ", 1)[-1] for call in calls] == ["requirements/torch.txt", "app"]


TOOLS = {"promtool": "prometheus", "amtool": "prometheus-alertmanager", "haproxy": "haproxy", "c++": "g++"}
SERVICES = {"prometheus", "prometheus-alertmanager", "haproxy"}
"""Packages that start what they bring."""


@pytest.mark.parametrize("installed", [set(), {"promtool"}, set(TOOLS)])
def test_ci_installs_what_is_missing_and_leaves_no_service_running(
    tmp_path: Path, installed: set[str]
) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    for name in ("apt-get", "service", "make", *installed):
        (tmp_path / name).write_text(f'#!{shutil.which("sh")}\necho "{name} $* CI=$CI" >> {tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    subprocess.run([ROOT / ".ci/run"], env={"PATH": str(tmp_path)}, timeout=60, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    made = ["make .venv/.guidellm CI=true", "make check CI=true", "make test CI=true", "make fuzz CI=true"]
    assert calls[-4:] == made
    missing = [package for tool, package in TOOLS.items() if tool not in installed]
    if not missing:
        assert calls == made
        return
    assert all(package in calls[1].split() for package in missing)
    assert set(TOOLS.values()) & set(calls[1].split()) == set(missing)
    assert {call.split()[1] for call in calls[2:-4]} == SERVICES
    assert all(" stop " in call for call in calls[2:-4])


def test_ci_installs_every_package_that_a_test_requires() -> None:
    calls = (
        found
        for path in (ROOT / "tests").rglob("*.py")
        for found in re.findall(r'\brequire\("[a-z-]+", "([a-z-]+)"\)', path.read_text(encoding="utf-8"))
    )
    assert set(calls) == SERVICES
    assert set(TOOLS.values()) >= SERVICES


PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
LINKING = [page for page in PAGES if "](" in (ROOT / page).read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left_in_a_page(page: str) -> None:
    assert re.findall(r"^[A-Z]{4,}$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE) == []


def headings_of(text: str) -> set[str]:
    """How links within a page name its sections."""
    return {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }


@pytest.mark.parametrize("page", LINKING)
def test_links_lead_to_files_and_sections_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = headings_of(text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            file, _, section = link.partition("#")
            assert ((ROOT / page).parent / file).exists(), link
            assert not section or section in headings_of(((ROOT / page).parent / file).read_text("utf-8")), (
                link
            )
