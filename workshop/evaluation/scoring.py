"""Scores every label of a list for a text, with the label list computed once and all labels in one pass."""

import torch
from torch.nn.functional import log_softmax
from transformers import DynamicCache, PreTrainedModel

from workshop.encode import Encoder, Piece
from workshop.tokenizer import TURN_END


def _question(encoder: Encoder, text: str) -> list[int]:
    piece = encoder.branch(text, "")
    return piece.ids[:-1]


def _leaves(start: int, labels: list[list[int]]) -> tuple[list[int], list[int], torch.Tensor]:
    """Tokens, offsets from the text's start, and owner of each: -1 for the text itself, else the label."""
    ids = [token for label in labels for token in label]
    positions = [start + place for label in labels for place in range(len(label))]
    owner = [number for number, label in enumerate(labels) for _ in label]
    return ids, positions, torch.tensor([-1] * start + owner)


def _sums(logs: torch.Tensor, start: int, labels: list[list[int]]) -> list[float]:
    """log p(label, end of turn) of every label; logs [start + leaves, vocabulary]."""
    sums, at = [], start
    for label in labels:
        places = torch.tensor([start - 1, *range(at, at + len(label))])
        sums.append(float(logs[places, torch.tensor([*label, TURN_END])].sum()))
        at += len(label)
    return sums


@torch.no_grad()
def label_scores(
    model: PreTrainedModel, encoder: Encoder, system: str, texts: list[str], labels: list[str]
) -> torch.Tensor:
    """Log probabilities [texts, labels] of the labels as answers, each with its end of turn."""
    trunk: Piece = encoder.trunk(system)
    cache = DynamicCache(config=model.config)
    shared = len(trunk.ids)
    model(input_ids=torch.tensor([trunk.ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
    encoded = [encoder.text(label) for label in labels]
    rows = []
    for text in texts:
        question = _question(encoder, text)
        start = len(question)
        ids, positions, owner = _leaves(start, encoded)
        own = (owner[:, None] == owner[None, :]) | (owner[None, :] == -1)
        seen = own & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
        mask = torch.cat([torch.ones(len(owner), shared, dtype=torch.bool), seen], dim=1)[None, None]
        output = model(
            input_ids=torch.tensor([question + ids]),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            position_ids=torch.tensor([[shared + place for place in [*range(start), *positions]]]),
        )
        cache.crop(-len(owner))  # negative: so many tokens are removed again
        rows.append(_sums(log_softmax(output.logits[0].float(), dim=-1), start, encoded))
    return torch.tensor(rows)
