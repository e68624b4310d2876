"""A file of known answers: its formats, what is wrong with one, and its tokens."""

import json
from array import array
from pathlib import Path

import pytest

from app.services import known_answers as module
from app.services.known_answers import InvalidAnswersFile, known_answers, read_answers
from app.services.tokenizer import Tokenizer
from tests.toy_tokenizer import toy_directory

TOKENIZER = Tokenizer.from_directory(toy_directory())


def written(tmp_path: Path, content: str | bytes, name: str = "answers.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines_of_json(tmp_path: Path) -> None:
    lines = [json.dumps("One.\n\nStill one."), json.dumps({"text": "Two.\u2028", "id": 7}), "", "  "]
    assert read_answers(written(tmp_path, "\n".join(lines))) == ["One.\n\nStill one.", "Two.\u2028"]


def test_paragraphs_of_text(tmp_path: Path) -> None:
    path = written(tmp_path, "One\nstill one.\n\n \n\nTwo.\n", "answers.txt")
    assert read_answers(path) == ["One\nstill one.", "Two."]


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.txt"])
def test_an_empty_file_is_no_answer(tmp_path: Path, name: str) -> None:
    assert known_answers(written(tmp_path, "", name), TOKENIZER) == b""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"\xff\xfe", "not UTF-8", id="bytes"),
        pytest.param('"a"\nno json\n', "line 2 of", id="no JSON"),
        pytest.param("7", "line 1 of", id="a number"),
        pytest.param('{"answer": "a"}', "line 1 of", id="no text"),
        pytest.param('{"text": null}', "line 1 of", id="null"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidAnswersFile) as raised:
        read_answers(path)
    assert words in str(raised.value) and str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InvalidAnswersFile, match="cannot read"):
            read_answers(path)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 4)
    with pytest.raises(InvalidAnswersFile, match="larger"):
        read_answers(written(tmp_path, '"abcd"'))


def test_tokens_with_the_end_behind_each_answer(tmp_path: Path) -> None:
    end = TOKENIZER.eos_token_ids[:1]
    tokens = array("i", known_answers(written(tmp_path, '"ab"\n"c"'), TOKENIZER)).tolist()
    assert tokens == [*TOKENIZER.encode("ab"), *end, *TOKENIZER.encode("c"), *end]
