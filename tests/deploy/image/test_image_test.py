"""The command: skipped where tools are missing, one sentence where something fails, a page where all is well."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.image import image_test
from deploy.image.findings import CheckFailed, Findings, eventually


def test_it_is_skipped_with_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        image_test, "missing", lambda: ["podman (Debian package podman)", "the rights of root"]
    )
    assert image_test.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "image test skipped: this machine lacks podman (Debian package podman), the rights of root"
    ]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine that has the tools, and no use of them; the list tells when the storage was cleared."""
    events: list[str] = []

    @contextmanager
    def storage(folder: Path, *, keep_images: bool) -> Iterator[None]:
        try:
            yield
        finally:
            events.append(f"cleared, images kept: {keep_images}")

    monkeypatch.setattr(image_test, "missing", list)
    monkeypatch.setattr(image_test, "own_storage", storage)
    monkeypatch.setattr(image_test.signal, "signal", lambda *_: None)
    return events


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            CheckFailed("2 streams were cut"),
            1,
            "image test failed: 2 streams were cut\nthe container's log\n",
        ),
        (KeyboardInterrupt(), 130, "image test interrupted; what it made is removed\n"),
    ],
)
def test_a_failure_is_told_without_a_stack_trace_after_all_was_removed(
    no_engine: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    def fails(*_: Any) -> None:
        error.add_note("the container's log")
        raise error

    monkeypatch.setattr(image_test, "_test", fails)
    assert image_test.main([]) == code
    assert capsys.readouterr().err == told
    assert no_engine == ["cleared, images kept: False"]


def test_the_page_has_every_row_the_date_and_no_place_of_this_machine(
    no_engine: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def finds(_containers: Any, only: Any, _cache: Path, _work: Path, findings: Findings) -> None:
        findings.add("image size, MB", " ".join(only))

    monkeypatch.setattr(image_test, "_test", finds)
    page = tmp_path / "page.md"
    arguments = ["--only", "service", "kube", "--cache", str(tmp_path / "kept"), "--out", str(page)]
    assert image_test.main(arguments) == 0
    text = page.read_text()
    assert text.startswith("# Image test, 20")
    assert "| image size, MB | service kube |" in text
    assert "`python -m deploy.image.image_test --only service kube --cache DIR`" in text
    assert str(tmp_path) not in text
    assert no_engine == ["cleared, images kept: True"]


def test_what_is_waited_for_in_vain_is_told() -> None:
    with pytest.raises(CheckFailed, match="not within 0 s: the moon"):
        eventually(lambda: False, "the moon", 0)
