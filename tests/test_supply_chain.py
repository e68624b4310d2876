"""What may be installed: hashes on every line, no version with a known hole, no form parser, the bill of it all."""

import json
import re
import tomllib

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version

from deploy import sbom
from deploy.locks import REQUIREMENTS, pinned
from tests.service.running_service import ROOT

HASHED = ("runtime.txt", "scale.txt", "dev.txt", "guidellm.txt")
LOCKS = (*HASHED, "torch.txt")
FLOORS: dict[str, dict[str, str]] = tomllib.loads((REQUIREMENTS / "floors.toml").read_text())
BILL = json.loads(sbom.OUTPUT.read_text())


def below_a_floor(name: str, version: str) -> list[str]:
    """The holes that a version still has."""
    return [hole for hole, fixed in FLOORS.get(name, {}).items() if Version(version) < Version(fixed)]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_a_version_with_a_known_hole(lock: str) -> None:
    found = {f"{one.name} {one.version}": below_a_floor(one.name, one.version) for one in pinned(lock)}
    assert found
    assert not any(found.values()), found


def test_an_old_version_is_seen() -> None:
    assert below_a_floor("h11", "0.14.0") == ["CVE-2025-43859"]
    assert below_a_floor("starlette", "1.0.1") == [
        "CVE-2026-48817",
        "CVE-2026-48818",
        "CVE-2026-54282",
        "CVE-2026-54283",
    ]
    assert below_a_floor("torch", "2.10.0") == ["CVE-2025-3000"]
    assert below_a_floor("urllib3", "2.7.0") == ["CVE-2026-97687", "CVE-2026-97688", "CVE-2026-97689"]
    assert below_a_floor("h11", "0.16.0") == []


def test_every_floor_is_of_a_package_that_is_locked_and_names_a_published_hole() -> None:
    assert FLOORS.keys() <= {one.name for lock in LOCKS for one in pinned(lock)}
    for holes in FLOORS.values():
        assert all(re.fullmatch(r"CVE-20\d\d-\d{4,}", hole) for hole in holes)


@pytest.mark.parametrize("lock", HASHED)
def test_every_line_of_a_lock_has_a_hash(lock: str) -> None:
    """Every line that is neither comment nor hash begins a package, and none is of another form (a URL, an option)."""
    text = (REQUIREMENTS / lock).read_text()
    entries = [line for line in text.splitlines() if line.strip() and not re.match(r"\s*(#|--hash=)", line)]
    packages = list(pinned(lock))
    assert len(entries) == len(packages) > 10
    assert [one.name for one in packages if not one.hashes] == []


def test_pip_is_told_to_check_the_hashes() -> None:
    for file in ("Makefile", "Dockerfile"):
        lines = (ROOT / file).read_text().replace("\\\n", "").splitlines()
        installs = [line for line in lines if re.search(r"install .*-r ", line.replace("$(PIP)", "install "))]
        assert installs
        for line in installs:
            for command in line.split("&&"):
                assert "runtime.txt" not in command or "COPY" in command or "--require-hashes" in command


def test_nothing_in_the_service_parses_forms() -> None:
    """Both frameworks look for it only where a route takes a form, and no route of ours does."""
    assert not [one.name for one in pinned("runtime.txt") if "multipart" in one.name]


def test_the_bill_of_materials_is_that_of_the_locks() -> None:
    assert sbom.bill() == sbom.OUTPUT.read_text(), "run `make sbom`"


def test_the_bill_names_every_locked_package_once() -> None:
    locked = [(one.name, one.version) for lock in ("runtime.txt", "torch.txt") for one in pinned(lock)]
    assert sorted((part["name"], part["version"]) for part in BILL["components"]) == sorted(locked)
    assert ("torch", "2.13.0") in locked


def test_the_bill_is_valid_and_tells_of_no_place_and_no_time() -> None:
    text = sbom.OUTPUT.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert "timestamp" not in text
    assert [line for line in text.splitlines() if "://" in line] == [
        ' "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",'
    ]


def test_everything_in_the_bill_is_needed_by_something() -> None:
    needed = {ref for one in BILL["dependencies"] for ref in one.get("dependsOn", ())}
    assert needed == {part["bom-ref"] for part in BILL["components"]}


def test_the_image_carries_the_bill() -> None:
    assert re.search(r"^COPY .*deploy/sbom\.json", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
