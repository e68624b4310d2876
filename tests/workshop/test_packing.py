"""A packed row computes what its conversations and branches compute alone."""

import pytest
import torch
from transformers import LlamaForCausalLM

from workshop.encode import Encoder, Message
from workshop.packing import Batch, pack


def _hidden(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        output = model(input_ids=batch.ids, attention_mask=batch.mask(), position_ids=batch.positions)
    return output.logits


def _alone(model: LlamaForCausalLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def test_conversations_in_a_row_do_not_see_each_other(model: LlamaForCausalLM, encoder: Encoder) -> None:
    trees = [
        encoder.conversation([Message("user", text), Message("assistant", "ok")])
        for text in ("a b", "cancel")
    ]
    packed = _hidden(model, pack([trees], 64))[0]
    at = 0
    for tree in trees:
        alone = _alone(model, tree.trunk.ids)
        torch.testing.assert_close(packed[at : at + len(alone)], alone, atol=1e-5, rtol=1e-4)
        at += len(alone)


def test_branches_equal_trunk_and_branch_alone(model: LlamaForCausalLM, encoder: Encoder) -> None:
    tree = encoder.conversation([Message("system", "Task: intent. Labels: refund | lost card")])
    tree.branches = [
        encoder.branch(*pair) for pair in (("money back", "refund"), ("my card is gone", "lost card"))
    ]
    packed = _hidden(model, pack([[tree]], 128))[0]
    at = len(tree.trunk.ids)
    for branch in tree.branches:
        alone = _alone(model, tree.trunk.ids + branch.ids)[len(tree.trunk.ids) :]
        torch.testing.assert_close(packed[at : at + len(alone)], alone, atol=1e-5, rtol=1e-4)
        at += len(alone)


def test_targets_are_the_label_and_the_end(encoder: Encoder) -> None:
    tree = encoder.conversation([Message("system", "Labels: refund")])
    tree.branches = [encoder.branch("x", "refund"), encoder.branch("y", "refund")]
    batch = pack([[tree]], 96)
    chosen, targets, weights = batch.targets()
    answers = targets[weights == 1.0].tolist()
    assert answers == [*encoder.text("refund"), 2] * 2
    assert len(chosen) == len(targets) == len(weights)


def test_padding_has_no_loss_and_no_group(encoder: Encoder) -> None:
    batch = pack([[encoder.conversation([Message("assistant", "ok")])]], 32)
    assert not batch.weights[batch.group == 0].any()


def test_too_long_a_row_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        pack([[encoder.conversation([Message("user", "cancel " * 40)])]], 16)
