"""The policy file: what it may say, and one line for the operator where it says something else."""

from pathlib import Path

import pytest

from app.policy.rules import MOST_RULES, PERSONAL_KINDS, InvalidPolicyFile, Rule, load_rules
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from tests.toy_tokenizer import toy_directory

TOKENIZER = Tokenizer.from_directory(toy_directory())
RULE = '[[rule]]\nname = "a"\naction = "refuse"\n'


def load(path: Path, text: str) -> tuple[Rule, ...]:
    path.write_text(text, encoding="utf-8")
    return load_rules(Settings(policy_file=path), TOKENIZER)


def test_without_a_file_there_is_no_rule() -> None:
    assert load_rules(Settings(), TOKENIZER) == ()


def test_rules_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    words, personal, question = load(
        tmp_path / "policy.toml",
        RULE
        + 'words = ["傻瓜"]\n'
        + '[[rule]]\nname = "b"\naction = "mask"\nat = "output"\npersonal = true\n'
        + '[[rule]]\nname = "c"\naction = "flag"\nat = "input"\nquestion = "Is it rude?"\n',
    )
    assert (words.words, words.looks_at("input"), words.looks_at("output")) == (("傻瓜",), True, True)
    assert (personal.personal, personal.looks_at("input"), personal.actions) == (
        PERSONAL_KINDS,
        False,
        ("mask",),
    )
    assert (question.threshold, question.looks_at("output"), question.actions) == (
        0.5,
        False,
        ("flag", "failed"),
    )
    assert question.on_failure == "refuse"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rule = 1 = 2", "is no TOML"),
        ("", "rule: Field required"),
        ("rule = []", "rule: Tuple should have at least 1 item"),
        (RULE, "exactly one of words, personal and question"),
        (RULE + 'words = ["a"]\npersonal = true', "exactly one of words, personal and question"),
        (RULE + "personal = false", "exactly one of words, personal and question"),
        (RULE + 'words = ["\u200b"]', "rule.0.words: a word must not be blank"),
        (
            RULE + 'personal = ["phone", "shoe size"]',
            "rule.0.personal: shoe size: the kinds are account, card",
        ),
        (RULE + 'words = ["a"]\nthreshold = 0.2', "threshold goes with a question"),
        (RULE + 'words = ["a"]\nwhere = "input"', "rule.0.where: Extra inputs"),
        (RULE + 'words = ["a"]\nat = "everywhere"', "rule.0.at: Input should be 'input', 'output' or 'both'"),
        (RULE.replace('"a"', '"A b"') + 'words = ["a"]', "rule.0.name: String should match"),
        (RULE.replace("refuse", "mask") + 'question = "Rude?"', "which cannot be masked"),
        (
            RULE.replace("refuse", "flag") + 'question = "Rude?"\non_failure = "refuse"',
            "on_failure is for rules",
        ),
        (RULE + 'question = "Rude?"\nlabels = ["a", "b"]', "labels come with when"),
        (RULE + 'question = "Rude?"\nwhen = ["a"]', "labels come with when"),
        (RULE + 'question = "Rude?"\nlabels = ["a", "b"]\nwhen = ["c"]', "labels come with when"),
        (RULE + 'question = "Rude?"\nlabels = ["a", "a"]\nwhen = ["a"]', "a: Labels must differ"),
        (RULE + 'question = "Rude?"\nthreshold = 0', "rule.0.threshold: Input should be greater than 0"),
        ((RULE + 'words = ["a"]\n') * 2, "a is there twice"),
        (
            "".join(RULE.replace('"a"', f'"a{n}"') + 'words = ["a"]\n' for n in range(MOST_RULES + 1)),
            f"at most {MOST_RULES} items",
        ),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InvalidPolicyFile) as caught:
        load(tmp_path / "policy.toml", text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicyFile, match="cannot be read: No such file"):
        load_rules(Settings(policy_file=tmp_path / "none.toml"), TOKENIZER)


def test_a_question_needs_a_model_that_takes_messages(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(RULE + 'question = "Rude?"')
    with pytest.raises(InvalidPolicyFile, match="without a chat template"):
        load_rules(Settings(policy_file=path), Tokenizer.from_directory(toy_directory(None)))
