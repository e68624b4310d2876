"""No string becomes a control token; and where one would, the search finds it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.reliability import control_tokens
from loadtests.reliability.control_tokens import EXIT_FOUND, Found, Subject, main, render, search, variants

pytestmark = pytest.mark.anyio


def test_two_thousand_strings(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--strings", "2000", "--seed", "1"])
    report = capsys.readouterr().out
    assert code == 0, report
    assert "**0 control ids from user bytes.** 2,000 strings, seed 1" in report


@pytest.mark.parametrize(("refused", "code"), [(50, 0), (51, EXIT_FOUND)])
def test_strings_that_are_refused_were_not_tried(
    refused: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a hundred, in decisions alone."""

    async def searched(*_: object) -> Found:
        return Found(1, Counter({"as it is": 100}), 300 - refused, Counter({"decisions": refused}))

    monkeypatch.setattr(control_tokens, "search", searched)
    assert main(["--strings", "100", "--seed", "1"]) == code
    page = capsys.readouterr().out
    assert f"0 of conversations, 0 of completions, {refused} of decisions" in page
    assert ("and so not tried: decisions" in page) == bool(code)


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
