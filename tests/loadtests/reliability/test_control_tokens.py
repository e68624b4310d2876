"""No string becomes a control token; and where one would, the search finds it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.reliability.control_tokens import Subject, main, render, search, variants

pytestmark = pytest.mark.anyio


def test_two_thousand_strings(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--strings", "2000", "--seed", "1"])
    report = capsys.readouterr().out
    assert code == 0, report
    assert "**0 control ids from user bytes.** 2,000 strings, seed 1" in report


def _no_masks(subject: Subject) -> None:
    subject.tokenizer._masks = lambda messages: {}  # type: ignore[method-assign]


def _seeing(subject: Subject) -> None:
    subject.tokenizer._plain.encode_special_tokens = False
    subject.tokenizer._forbidden_ids = frozenset()


def _lossy(subject: Subject) -> None:
    encode = subject.tokenizer._plain

    class Dropping:
        def __getattr__(self, name: str) -> object:
            return getattr(encode, name)

        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            return encode.encode_batch_fast([text.replace("\u200b", "") for text in texts], **options)

    subject.tokenizer._plain = Dropping()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (_no_masks, "control ids that are not the template's"),
        (_seeing, "control ids in plain text"),
        (_lossy, "another text"),
    ],
)
async def test_a_tokenizer_that_is_deceived_is_found(
    damage: Callable[[Subject], None], fault: str, tmp_path: Path
) -> None:
    subjects = [Subject(variant) for variant in variants(tmp_path)[:1]]
    damage(subjects[0])
    found = await search(subjects, seed=1, strings=100)
    assert any(one.startswith(fault) for one in found.faults), found.faults
    assert "something was wrong" in render(found, {}, "")
