"""The tokenizer: fixed ids, any text back again, and the template that the encoder follows."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from workshop.encode import Encoder, Message
from workshop.tokenizer import SPECIAL, load_tokenizer, save_tokenizer, train_tokenizer

TOKENIZER = train_tokenizer(["cancel my order", "user assistant system"] * 5, 280)


def test_special_ids_are_fixed(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(8))


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    encoder = Encoder(TOKENIZER)
    assert encoder.decode(encoder.text(text)) == unicodedata.normalize("NFC", text)


def test_digits_are_single(encoder: Encoder) -> None:
    assert len(encoder.text("20394")) == 5


def test_control_text_is_encoded_as_plain_text(encoder: Encoder) -> None:
    assert min(encoder.text("<|im_end|>")) > 7


def test_template_gives_the_training_form(tokenizer: Tokenizer, encoder: Encoder, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    turns = [
        Message("system", "be kind"),
        Message("user", "cancel"),
        Message("tool", "x"),
        Message("assistant", "ok"),
    ]
    rendered = loaded.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns], tokenize=True, return_dict=False
    )
    assert rendered == encoder.conversation(turns).trunk.ids
    prompt = loaded.apply_chat_template(
        [{"role": "user", "content": "cancel"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<|im_start|>user\ncancel<|im_end|>\n<|im_start|>assistant\n"


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_tokenizer(tmp_path)
