"""Tokenizer: the same ids as transformers for ordinary text, and no control id from a client's text, ever."""

import json
import shutil
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.errors import InvalidRequest
from app.services.chat_template import Message
from app.services.tokenizer import Tokenizer
from app.settings import EMBEDDED_MODEL
from tests.toy_tokenizer import CHATML, CONTROL, TEXTS, toy_directory, train

EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "repartee-support"
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|im_end|>{% endif %}"
NOTES = CHATML + "<note>"
PIECES = [*CONTROL, "<note>", "<", "|", ">", "<|", "|>", "<|im_", "end|>", "<|im_end", "<", "|", "im_end",
          "a", " ", "\n", "订", "👋🏽", "e\u0301", "\ue000", "\x00"]  # fmt: skip
UNUSUAL = ["a < b |> c [x] <b>bold</b>", "<|not_a_token|>", "é\u0301", "\n\n"]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)
turns = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=4)


@cache
def toy(template: str | None = CHATML, *, bos: bool = False) -> Tokenizer:
    return Tokenizer.from_directory(toy_directory(template, bos=bos))


def controls(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    return [i for i in ids if i in tokenizer.special_ids]


def directories() -> list[Path]:
    return [toy_directory(), *([EMBEDDED] if (EMBEDDED / "tokenizer.json").exists() else [])]


@given(texts)
@settings(max_examples=300, deadline=None)
def test_text_gives_no_control_id_and_comes_back(text: str) -> None:
    tokenizer = toy()
    ids = tokenizer.encode(text)
    assert controls(tokenizer, ids) == []
    assert tokenizer.decode(ids) == tokenizer._plain.normalizer.normalize_str(text)


@pytest.mark.parametrize("template", [CHATML, BARE, NOTES])
@given(turns=turns)
@settings(max_examples=150, deadline=None)
def test_the_control_ids_of_a_prompt_are_those_of_the_template(
    template: str, turns: list[tuple[str, str]]
) -> None:
    tokenizer = toy(template)
    ids = tokenizer.encode_prompt([Message(role, text) for role, text in turns])  # type: ignore[arg-type]
    harmless = tokenizer.encode_prompt([Message(role, "a") for role, _ in turns])  # type: ignore[arg-type]
    assert controls(tokenizer, ids) == controls(tokenizer, harmless)


@pytest.mark.parametrize("directory", directories(), ids=lambda path: path.name.split("-")[0])
@pytest.mark.parametrize("text", [*TEXTS, "  spaces  ", *UNUSUAL])
def test_ids_equal_those_of_transformers(directory: Path, text: str) -> None:
    reference = AutoTokenizer.from_pretrained(directory)
    tokenizer = Tokenizer.from_directory(directory)
    turns = [("system", "Be kind."), ("user", text), ("assistant", text), ("user", "And now?")]
    expected = reference.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns], add_generation_prompt=True
    )["input_ids"]
    assert tokenizer.encode_prompt([Message(role, content) for role, content in turns]) == expected  # type: ignore[arg-type]
    assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False)
    assert tokenizer.encode_completion(text) == reference.encode(text)


def _strips(content: dict[str, Any]) -> None:
    for token in content["added_tokens"][1:3]:
        token["rstrip"] = True


def _marks_the_first_piece(content: dict[str, Any]) -> None:
    content["pre_tokenizer"] = {
        "type": "Metaspace", "replacement": "Ġ", "prepend_scheme": "first", "split": True
    }  # fmt: skip


@pytest.mark.parametrize("change", [_strips, _marks_the_first_piece])
def test_control_tokens_that_touch_the_text_beside_them(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    directory = tmp_path / "changed"
    shutil.copytree(toy_directory(), directory)
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    reference = AutoTokenizer.from_pretrained(directory)
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>  ' + m.content }}{% endfor %}"
    )
    (directory / "chat_template.jinja").write_text(template)
    expected = reference.encode("<|im_start|>hello<|im_end|>  hello", add_special_tokens=False)
    tokenizer = Tokenizer.from_directory(directory)
    assert tokenizer.encode_prompt([Message("user", "hello")]) == expected
    assert controls(tokenizer, tokenizer.encode_prompt([Message("user", "<|im_end|>")])) == [1, 2]


def test_a_control_id_is_found_wherever_it_lies_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy()
    ids = tokenizer.encode("where is my parcel?")
    word = next(i for i in ids if len(tokenizer.decode([i])) > 1)
    searched = list[int]()

    class Forbidden(frozenset[int]):
        def isdisjoint(self, others: Iterable[object]) -> bool:
            found = list(others)
            searched.append(len(found))
            return super().isdisjoint(found)

    monkeypatch.setattr("app.services.tokenizer._AT_ONCE", 8)
    for before in (0, 8, 100):
        text = "?" * before + tokenizer.decode([word])
        monkeypatch.setattr(tokenizer, "_forbidden_ids", Forbidden())
        assert word in tokenizer.encode(text)
        monkeypatch.setattr(tokenizer, "_forbidden_ids", Forbidden({word}))
        assert word not in tokenizer.encode(text)
    assert max(searched) == 8


def test_the_forms_of_a_control_tokens_first_character_come_back() -> None:
    tokenizer = toy(NOTES)
    text = "<\ufe64\uff1c\ue000\ue001 <|im_end|>"
    ids = tokenizer.encode_prompt([Message("user", text)])
    assert tokenizer.decode(tokenizer.encode(text)) in tokenizer.decode(ids)


def test_a_vocabulary_with_holes_has_its_highest_id(tmp_path: Path) -> None:
    directory = tmp_path / "holes"
    shutil.copytree(toy_directory(), directory)
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["beyond"] = 5000
    path.write_text(json.dumps(content))
    assert Tokenizer.from_directory(directory).vocab_size == 5001


def test_ordinary_text_beside_a_spelled_control_token_keeps_its_ids() -> None:
    tokenizer = toy()
    ids = tokenizer.encode_prompt([Message("user", "where <|im_end|> is <")])
    turn = "<|im_start|>user\nwhere <|im_end|> is <<|im_end|>\n"
    assert tokenizer.decode(ids) == turn + "<|im_start|>assistant\n"
    assert len(controls(tokenizer, ids)) == 3


def test_plain_text_begins_as_the_model_was_trained() -> None:
    assert toy(bos=True).encode_completion("hello")[0] == 0
    assert toy(bos=True).encode("hello")[0] != 0
    reference = AutoTokenizer.from_pretrained(toy_directory(bos=True))
    assert reference.encode("hello") == toy(bos=True).encode_completion("hello")


def test_developer_is_system_where_the_template_knows_no_developer() -> None:
    as_system = toy().encode_prompt([Message("system", "Be kind.")])
    assert toy().encode_prompt([Message("developer", "Be kind.")]) == as_system
    knows = toy(CHATML + "{# developer #}")
    assert "developer" in knows.decode(knows.encode_prompt([Message("developer", "Be kind.")]))


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no') }}", "{{ messages[9].content + 1 }}"])
def test_a_conversation_that_the_template_refuses_is_invalid(template: str | None) -> None:
    with pytest.raises(InvalidRequest):
        toy(template).encode_prompt([Message("user", "hello")])


def test_the_template_cannot_leave_its_sandbox() -> None:
    with pytest.raises(InvalidRequest):
        toy("{{ messages.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}").encode_prompt(
            [Message("user", "hello")]
        )


def test_eos_ids_come_from_the_generation_config() -> None:
    assert toy().eos_token_ids == [2, 0]
    assert toy().vocab_size == train().get_vocab_size()


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_the_lower_bound_of_tokens_holds(text: str) -> None:
    assert toy().fewest_tokens(len(text.encode())) <= len(toy().encode(text))


def test_others_may_run_while_a_long_text_is_converted() -> None:
    """Whoever holds the interpreter for all of it lets the other thread count at its begin and its end alone."""
    tokenizer = Tokenizer.from_directory(EMBEDDED_MODEL)

    def turns_beside(work: Callable[[], object]) -> int:
        thread, turns = threading.Thread(target=work), 0
        pause = threading.Event()
        thread.start()
        while thread.is_alive():
            pause.wait(0.0001)
            turns += 1
        return turns

    text = "where is my parcel " * 5_000
    assert turns_beside(lambda: tokenizer.encode(text)) > 20
    ids = tokenizer.encode(text) * 4
    assert turns_beside(lambda: tokenizer.decode(ids)) > 8
