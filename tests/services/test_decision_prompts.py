from pathlib import Path

import msgspec
import pytest

from app.services.chat_template import Message
from app.services.decision_prompts import DecisionPrompts, load_prompts
from app.services.model_file import InvalidModelFile
from app.services.questions import Label, Question

FILE = {
    "order": "question_first",
    "choice": "Task: {task}. Labels: {labels}",
    "predicate": "Task: {instructions} Labels: {labels}",
    "multi_label": "Task: {task}. Is it {label}? Labels: {labels}",
    "separator": " | ",
    "label": "{label}",
    "described_label": "{label} ({description})",
    "true": "yes",
    "false": "no",
    "temperature": 1.23,
}
LABELS = (Label("refund", "money back"), Label("other"))


@pytest.fixture
def trained(tmp_path: Path) -> DecisionPrompts:
    (tmp_path / "decisions.json").write_bytes(msgspec.json.encode(FILE))
    return load_prompts(str(tmp_path))


def test_question_first_keeps_the_text_apart(trained: DecisionPrompts) -> None:
    assert trained.messages(Question("choice", LABELS, "intent."), "hello") == [
        Message("system", "Task: intent. Labels: refund (money back) | other"),
        Message("user", "hello"),
    ]
    assert trained.temperature == 1.23


def test_yes_no_forms(trained: DecisionPrompts) -> None:
    yes_no = (Label("yes"), Label("no"))
    predicate = trained.messages(Question("predicate", yes_no, "Is it angry?"), "x")[0].content
    assert predicate == "Task: Is it angry? Labels: yes | no"
    about = Question("multi_label", yes_no, "topic", LABELS[0])
    assert (
        trained.messages(about, "x")[0].content == "Task: topic. Is it refund (money back)? Labels: yes | no"
    )


def test_text_first_begins_with_the_text_for_any_model(tmp_path: Path) -> None:
    prompts = load_prompts(str(tmp_path))
    for question in (Question("choice", LABELS, "intent"), Question("predicate", LABELS)):
        (message,) = prompts.messages(question, "the text")
        assert message.role == "user"
        assert message.content.startswith("the text\n")
        assert "- refund: money back\n- other" in message.content


def test_braces_of_the_client_stay_text(trained: DecisionPrompts) -> None:
    labels = (Label("{task}", "{labels}"), Label("{label}"))
    content = trained.messages(Question("choice", labels, "{labels} {description}"), "{task}")
    assert content[0].content == "Task: {labels} {description}. Labels: {task} ({labels}) | {label}"
    assert content[1].content == "{task}"


@pytest.mark.parametrize("change", [{"temperature": 0}, {"order": "sideways"}, {"extra": 1}])
def test_a_wrong_file_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "decisions.json").write_bytes(msgspec.json.encode(FILE | change))
    with pytest.raises(InvalidModelFile):
        load_prompts(str(tmp_path))
