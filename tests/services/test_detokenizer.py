"""Detokenizer: joined deltas equal the whole text, and no delta shows half a character."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HubTokenizer
from tokenizers import decoders
from tokenizers.models import BPE

from app.services.detokenizer import Detokenizer
from app.services.tokenizer import Tokenizer
from tests.toy_tokenizer import toy_directory


@cache
def byte_level() -> Tokenizer:
    return Tokenizer.from_directory(toy_directory())


@cache
def byte_fallback(directory: Path) -> Tokenizer:
    """Pieces with a visible space, other characters as bytes: the SentencePiece way."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    tokenizer = HubTokenizer(
        BPE({p: i for i, p in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    return Tokenizer.from_directory(directory)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("byte-fallback")


def deltas(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.feed([i]) for i in ids), detokenizer.flush()]


@given(st.lists(st.integers(0, 347)))
@settings(max_examples=200, deadline=None)
def test_any_tokens_give_the_text_of_the_whole(ids: list[int]) -> None:
    assert "".join(deltas(byte_level(), ids)) == byte_level().decode(ids, skip_hidden=True)


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_text_in_bytes_gives_the_text_of_the_whole(directory: Path, text: str) -> None:
    tokenizer = byte_fallback(directory)
    ids = [1 + byte for byte in text.encode()]
    assert "".join(deltas(tokenizer, ids)) == tokenizer.decode(ids)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_no_delta_has_half_a_character(text: str) -> None:
    for delta in deltas(byte_level(), byte_level().encode(text.replace("\ufffd", ""))):
        assert "\ufffd" not in delta


def test_a_character_appears_with_its_last_byte() -> None:
    ids = byte_level().encode("é龘")
    assert [bool(delta) for delta in deltas(byte_level(), ids)] == [False, True, False, False, True, False]


def test_a_replacement_character_of_the_model_is_shown_at_once() -> None:
    ids = byte_level().encode("\ufffd")
    assert deltas(byte_level(), ids)[len(ids) - 1] == "\ufffd"


def test_half_a_character_at_the_end_is_a_replacement_character() -> None:
    assert deltas(byte_level(), byte_level().encode("龘")[:-1])[-1] == "\ufffd"


def test_special_tokens_are_no_text() -> None:
    assert "".join(deltas(byte_level(), [1, *byte_level().encode("hello"), 2])) == "hello"
