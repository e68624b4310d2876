"""A random checkpoint loads in transformers and in the service, and all its tokens are text."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.services.tokenizer import Message, Tokenizer
from loadtests.random_model import random_model
from loadtests.random_tokenizer import CONTROL, EOS
from loadtests.shapes import NAMES, shape

TEXT = "Where is my order?\n 你好 👋"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model("tiny", tmp_path_factory.mktemp("models"))


def test_transformers_loads_it_whole(model: Path) -> None:
    loaded, report = AutoModelForCausalLM.from_pretrained(model, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.dtype is torch.bfloat16
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert loaded.generation_config.eos_token_id == [EOS]
    with torch.inference_mode():
        logits = loaded(torch.tensor([[4, 5, 6]])).logits
    assert logits.isfinite().all() and logits.float().std() > 0


def test_an_existing_one_is_left_as_it_is(model: Path) -> None:
    weights = model / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert random_model("tiny", model.parent) == model
    assert weights.stat().st_mtime_ns == before
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_weights_are_the_same_each_time(model: Path, tmp_path: Path) -> None:
    again = random_model("tiny", tmp_path)
    with (
        safe_open(model / "model.safetensors", "pt") as one,
        safe_open(again / "model.safetensors", "pt") as two,
    ):
        assert all(torch.equal(one.get_tensor(name), two.get_tensor(name)) for name in one.keys())  # noqa: SIM118


def test_text_survives_both_tokenizers(model: Path) -> None:
    theirs, ours = AutoTokenizer.from_pretrained(model), Tokenizer.from_directory(model)
    ids = theirs.encode(TEXT)
    assert theirs.decode(ids) == TEXT
    assert ours.encode(TEXT) == ids
    assert ours.decode(ids) == TEXT


def test_an_ascii_prompt_has_a_token_a_character(model: Path) -> None:
    assert len(Tokenizer.from_directory(model).encode("aB3" * 20)) == 60


def test_every_token_but_the_control_ones_is_text_of_its_own(model: Path) -> None:
    tokenizer = Tokenizer.from_directory(model)
    assert tokenizer.vocab_size == 512
    texts = [tokenizer.decode([token]) for token in range(len(CONTROL) + 256, 512)]
    assert all(text.isascii() and text for text in texts) and len(set(texts)) == len(texts)


def test_chats_are_framed_alike(model: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    theirs = AutoTokenizer.from_pretrained(model).apply_chat_template(messages, add_generation_prompt=True)
    ours = Tokenizer.from_directory(model).encode_prompt(
        [Message("system", "Be brief."), Message("user", "Hi")]
    )
    assert ours == theirs["input_ids"]
    assert Tokenizer.from_directory(model).decode(ours).endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_shapes_have_their_published_sizes() -> None:
    def parameters(name: str) -> int:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(shape(name)).num_parameters()

    assert parameters("0.5b") == 494_032_768
    assert parameters("8b") == 8_030_261_248
    assert set(NAMES) == {"tiny", "0.5b", "8b"}
