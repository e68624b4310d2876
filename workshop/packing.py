"""Packs trees into rows of one length: each conversation sees only itself, each branch its trunk and itself.

The shared trunk makes a long label list cost once for many examples. Positions restart in every branch, so a
branch computes exactly what a single sequence of trunk and branch computes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from workshop.encode import Tree
from workshop.tokenizer import PAD


@dataclass
class Batch:
    """Rows of tokens; all tensors are [rows, length]. `group` is 0 on padding, `branch` is 0 on a trunk."""

    ids: torch.Tensor
    positions: torch.Tensor
    group: torch.Tensor
    branch: torch.Tensor
    weights: torch.Tensor

    def mask(self) -> torch.Tensor:
        """Boolean attention mask [rows, 1, length, length]: True where a query sees a key."""
        length = self.ids.shape[1]
        same = self.group[:, :, None] == self.group[:, None, :]
        open_ = (self.branch[:, None, :] == 0) | (self.branch[:, :, None] == self.branch[:, None, :])
        return (same & open_ & torch.ones(length, length, dtype=torch.bool).tril())[:, None]

    def targets(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Flat indices of the positions with a loss, the token each has to predict, and its weight."""
        follows = (self.group[:, 1:] == self.group[:, :-1]) & (self.branch[:, 1:] == self.branch[:, :-1])
        weights = torch.zeros_like(self.weights)
        weights[:, :-1] = self.weights[:, 1:] * follows
        chosen = weights.flatten().nonzero().squeeze(1)
        following = self.ids.roll(-1, dims=1).flatten()
        return chosen, following[chosen], weights.flatten()[chosen]


@dataclass
class _Row:
    ids: list[int]
    positions: list[int]
    group: list[int]
    branch: list[int]
    weights: list[float]

    def add(self, tree: Tree, group: int) -> None:
        for number, piece in enumerate((tree.trunk, *tree.branches)):
            start = len(tree.trunk.ids) if number else 0
            size = len(piece.ids)
            self.ids.extend(piece.ids)
            self.positions.extend(range(start, start + size))
            self.group.extend([group] * size)
            self.branch.extend([number] * size)
            self.weights.extend(piece.weights)

    def pad(self, length: int) -> None:
        missing = length - len(self.ids)
        self.ids.extend([PAD] * missing)
        for column in (self.positions, self.group, self.branch):
            column.extend([0] * missing)
        self.weights.extend([0.0] * missing)


def pack(rows: Iterable[list[Tree]], length: int) -> Batch:
    """One batch row for each list of trees; ValueError when a list does not fit."""
    packed: list[_Row] = []
    for trees in rows:
        row = _Row([], [], [], [], [])
        for group, tree in enumerate(trees, start=1):
            row.add(tree, group)
        if len(row.ids) > length:
            raise ValueError(f"{len(row.ids)} tokens do not fit into a row of {length}")
        row.pad(length)
        packed.append(row)
    return Batch(
        ids=torch.tensor([row.ids for row in packed]),
        positions=torch.tensor([row.positions for row in packed]),
        group=torch.tensor([row.group for row in packed]),
        branch=torch.tensor([row.branch for row in packed]),
        weights=torch.tensor([row.weights for row in packed]),
    )
