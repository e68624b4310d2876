"""Known answers: a file of past replies, as the token ids that the engine takes drafts from."""

import re
from array import array
from pathlib import Path

import msgspec

from app.services.tokenizer import Tokenizer

MODEL_FILE = "answers.jsonl"
"""What a model may bring beside its weights."""
MAX_BYTES = 16 << 20
"""Some four million tokens: they take about 5 s at start and 100 MB in the engine."""

_BLANK_LINES = re.compile(r"\n\s*\n")


class InvalidAnswersFile(ValueError):
    """The file of answers cannot be used; the message is for the operator."""


class _Object(msgspec.Struct, frozen=True):
    """A line of a JSONL file that is no bare string; its other fields do not matter."""

    text: str


def read_answers(path: Path) -> list[str]:
    """The answers of a file: `.jsonl` has a string, or an object with `text`, a line; else blank lines part them.

    Raises:
        InvalidAnswersFile: it cannot be read, is too large, is not UTF-8, or has a line without a text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidAnswersFile(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        text = path.read_bytes().decode()
    except OSError as error:
        raise InvalidAnswersFile(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidAnswersFile(f"{path} is not UTF-8: byte {error.start} begins no character") from error
    if path.suffix != ".jsonl":
        return [part.strip() for part in _BLANK_LINES.split(text) if part.strip()]
    return [
        _text(line, f"line {number} of {path}")
        for number, line in enumerate(text.split("\n"), 1)
        if line and not line.isspace()
    ]


def known_answers(path: Path, tokenizer: Tokenizer) -> bytes:
    """The tokens of a file's answers, each with the model's end token behind it, as `Configure.answers` wants them.

    Raises:
        InvalidAnswersFile: see `read_answers`.
    """
    end = tokenizer.eos_token_ids[:1]
    tokens = array("i")
    for answer in read_answers(path):
        tokens.extend(tokenizer.encode(answer))
        tokens.extend(end)
    return tokens.tobytes()


def _text(line: str, place: str) -> str:
    try:
        value = msgspec.json.decode(line, type=str | _Object)
    except msgspec.DecodeError as error:
        raise InvalidAnswersFile(f"{place}: {error}") from error
    return value if isinstance(value, str) else value.text
