"""The evaluation computes what it says: label scores, calibration, judge, table."""

import pytest
import torch
from transformers import LlamaForCausalLM

from workshop.encode import Encoder
from workshop.evaluation.answers import Answer
from workshop.evaluation.calibration import auroc, calibration_error, fit_temperature
from workshop.evaluation.judge import Judge
from workshop.evaluation.report import Line, as_markdown, as_text
from workshop.evaluation.scoring import label_scores


def test_label_scores_equal_brute_force(model: LlamaForCausalLM, encoder: Encoder) -> None:
    system, labels = "Task: intent. Labels: refund | lost card", ["refund", "lost card", "card"]
    texts = ["I want my money", "where is it"]
    scores = label_scores(model, encoder, system, texts, labels)
    for row, text in enumerate(texts):
        for column, label in enumerate(labels):
            trunk, branch = encoder.trunk(system).ids, encoder.branch(text, label).ids
            with torch.no_grad():
                logs = model(input_ids=torch.tensor([trunk + branch])).logits[0].log_softmax(-1)
            size = len(encoder.text(label)) + 1
            ids = (trunk + branch)[-size:]
            wanted = sum(float(logs[-size - 1 + place, token]) for place, token in enumerate(ids))
            assert float(scores[row, column]) == pytest.approx(wanted, abs=1e-3)


def test_temperature_softens_overconfidence() -> None:
    scores = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [8.0, 0.0]])
    truth = torch.tensor([0, 0, 0, 1])
    temperature = fit_temperature([(scores, truth)])
    assert temperature > 4
    assert (
        calibration_error([(scores, truth)], temperature) < 0.05 < calibration_error([(scores, truth)], 1.0)
    )


def test_auroc_counts_pairs() -> None:
    assert auroc(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0])) == 0.875


def test_judge_tells_topics_apart() -> None:
    judge = Judge(["cancel the order", "your refund is on its way"] * 20, ["cancel", "refund"] * 20, rounds=5)
    assert judge.label(["please cancel my order", "about your refund"]) == ["cancel", "refund"]


@pytest.mark.parametrize(
    ("text", "ended", "clean"),
    [
        ("All is well.", True, True),
        ("All is well.", False, False),
        ("Call {{Phone}}.", True, False),
        ("see <|im_start|>", True, False),
        ("one two three four five six " * 6, True, False),
        ("", True, False),
    ],
)
def test_clean_answers(text: str, ended: bool, clean: bool) -> None:
    assert Answer(text, ended).clean is clean


def test_tables_say_pass_and_fail() -> None:
    lines = [Line("a", 0.9, 10, 0.8), Line("b", 4.0, 10, 3.0, most=True, share=False), Line("c", 0.5, 10)]
    assert "| a | 10 | >= 80.0 % | 90.0 % | pass |" in as_markdown(lines)
    assert "| b | 10 | <= 3 | 4 | fail |" in as_markdown(lines)
    assert as_text(lines).splitlines()[-1].split() == ["c", "10", "50.0", "%"]
