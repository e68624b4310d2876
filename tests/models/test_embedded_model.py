"""The shipped model folder: complete, small files, and an answer that is on topic and ends."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[2] / "models" / "repartee-support"

pytestmark = pytest.mark.skipif(not (FOLDER / "config.json").is_file(), reason="no model in this checkout")


def test_it_answers_on_topic_and_ends() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How can I cancel my order?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        output = model.generate(**prompt, max_length=500, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    text = tokenizer.decode(output, skip_special_tokens=True)
    assert output[-1] == 2
    assert "cancel" in text.lower()
    assert "{" not in text


def test_no_file_is_large() -> None:
    assert max(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 4_000_000


def test_the_known_answers_can_be_used_and_carry_their_notice() -> None:
    answers = [json.loads(line) for line in (FOLDER / "answers.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) > 500 and all(isinstance(answer, str) and "{{" not in answer for answer in answers)
    assert "CDLA-Sharing-1.0" in (FOLDER / "licenses" / "answers-NOTICE.txt").read_text()
    assert (FOLDER / "licenses" / "bitext-LICENSE.txt").is_file()


def test_the_decision_form_is_complete() -> None:
    form = json.loads((FOLDER / "decisions.json").read_text())
    assert form["order"] == "question_first"
    assert (
        form["choice"].format(task="intent", labels=form["separator"].join("ab"))
        == "Task: intent. Labels: a | b"
    )
    assert (
        form["predicate"].format(instructions="Is it?", labels="yes | no") == "Task: Is it? Labels: yes | no"
    )
    assert "{label}" in form["multi_label"]
    assert form["described_label"].format(label="a", description="b") == "a (b)"
    assert (form["true"], form["false"]) == ("yes", "no")
    assert 0.3 < form["temperature"] < 10


def test_special_tokens_have_their_ids() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3]
