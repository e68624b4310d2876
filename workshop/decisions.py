"""The classification half of the mixture: one label list and many texts that it is applied to, as a tree."""

import random
from collections.abc import Callable
from pathlib import Path

from workshop import labelled
from workshop.deck import Deck, Decks
from workshop.encode import Encoder, Piece, Tree
from workshop.labelled import Example, LabelSet
from workshop.labels import (
    DESCRIPTIONS,
    EMOTIONS,
    NONE,
    PREDICATES,
    TASKS,
    choice_prompt,
    draw_style,
    multi_label_prompt,
    predicate_prompt,
    spaced,
    styled,
)

Draw = Callable[[], tuple[str, str]]
LONGEST_TEXT = 60


class _Supply:
    """The decks of one label set: all examples, and one deck for each label."""

    def __init__(self, source: LabelSet, decks: Decks) -> None:
        self.source = source
        self.all = decks.add(Deck(f"{source.name}:all", source.examples))
        self.of = {
            name: decks.add(Deck(f"{source.name}:{name}", rows)) for name, rows in source.by_label.items()
        }
        self.outside = decks.add(Deck(f"{source.name}:outside", source.outside)) if source.outside else None


class Decisions:
    """Draws decision trees that fit a given number of tokens."""

    def __init__(self, data: Path, encoder: Encoder, decks: Decks) -> None:
        banned = labelled.test_texts(data)
        self._encoder = encoder
        sets = (
            labelled.banking77(data, "train", banned),
            labelled.clinc150(data, "train", banned),
            labelled.bitext_intents(data, "train", banned),
            labelled.hwu64(data, "train", banned),
            labelled.goemotions(data, "train"),
            labelled.goemotions(data, "train", "emotions"),
            labelled.reviews(data, banned),
            labelled.nlupp(data),
        )
        self._supplies = {source.name: _Supply(source, decks) for source in sets}

    def long(self, rng: random.Random, room: int) -> list[Tree]:
        """One row with a whole label list and as many texts as fit."""
        name = rng.choices(("banking77", "clinc150", "hwu64", "bitext"), (0.46, 0.44, 0.05, 0.05))[0]
        supply = self._supplies[name]
        names = list(supply.source.names)
        rng.shuffle(names)
        if rng.random() < 0.5:  # some labels left out: their texts belong to none of the others
            names = names[: -rng.randint(1, max(1, len(names) // 10))]
        return [self._choice(supply, names, rng, room, balanced=False)]

    def short(self, rng: random.Random, room: int) -> list[Tree]:
        """One row of trees with short label lists and yes/no questions."""
        trees: list[Tree] = []
        while (left := room - sum(map(len, trees))) > 160:
            tree = self._short_tree(rng, min(left, max(160, room // 2)))
            if tree.branches:  # else the label list alone was too long for the room
                trees.append(tree)
        return trees

    def _short_tree(self, rng: random.Random, room: int) -> Tree:
        kind = rng.choices(
            ("goemotions", "reviews", "intents", "yes", "predicate"), (0.36, 0.06, 0.38, 0.10, 0.10)
        )[0]
        if kind in ("goemotions", "reviews"):
            supply = self._supplies[kind]
            names = rng.sample(supply.source.names, 3 if rng.random() < 0.85 else 2)
            return self._choice(supply, names, rng, room, balanced=len(names) < 3)
        if kind == "intents":
            supply = self._supplies[
                rng.choices(
                    ("banking77", "clinc150", "bitext", "hwu64", "emotions"), (0.24, 0.28, 0.2, 0.24, 0.04)
                )[0]
            ]
            most = min(len(supply.source.names), rng.choice((3, 5, 8, 15, 27)))
            return self._choice(
                supply, rng.sample(supply.source.names, rng.randint(2, most)), rng, room, balanced=True
            )
        return self._yes_no(rng, room, free=kind == "predicate")

    def _choice(
        self, supply: _Supply, names: list[str], rng: random.Random, room: int, *, balanced: bool
    ) -> Tree:
        style = draw_style(rng)
        shown = {name: styled(name, style) for name in names}
        outside = [name for name in supply.source.names if name not in shown]
        none = bool(outside or supply.outside) and rng.random() < (0.85 if not balanced and outside else 0.4)
        listed = (
            [self._described(name, shown[name], rng) for name in names]
            if self._describes(supply, rng)
            else [shown[name] for name in names]
        )
        if none:
            listed.insert(len(listed) if rng.random() < 0.6 else rng.randint(0, len(listed)), NONE)
        trunk = self._encoder.trunk(choice_prompt(rng.choice(TASKS[supply.source.task]), listed))

        def draw() -> tuple[str, str]:
            if none and rng.random() < 0.14:
                return self._stranger(supply, outside, rng), NONE
            example = supply.of[rng.choice(names)].deal() if balanced else self._known(supply, shown)
            return example.text, shown[next(label for label in example.labels if label in shown)]

        return self._grow(trunk, draw, room)

    def _known(self, supply: _Supply, shown: dict[str, str]) -> Example:
        while True:
            example = supply.all.deal()
            if any(label in shown for label in example.labels):
                return example

    def _stranger(self, supply: _Supply, outside: list[str], rng: random.Random) -> str:
        """A text that none of the listed labels fits: out of scope, or of a label left out."""
        if supply.outside and (not outside or rng.random() < 0.6):
            return supply.outside.deal()
        return supply.of[rng.choice(outside)].deal().text

    def _describes(self, supply: _Supply, rng: random.Random) -> bool:
        return supply.source.name in ("bitext", "goemotions", "reviews") and rng.random() < 0.15

    def _described(self, name: str, shown: str, rng: random.Random) -> str:
        return f"{shown} ({DESCRIPTIONS[name]})" if name in DESCRIPTIONS else shown

    def _yes_no(self, rng: random.Random, room: int, *, free: bool) -> Tree:
        """Whether one label applies: half of the texts have it, half have another of the same set."""
        name = rng.choices(
            ("nlupp", "emotions", "bitext", "clinc150", "banking77", "goemotions", "hwu64"),
            (0.24, 0.24, 0.16, 0.1, 0.1, 0.08, 0.08),
        )[0]
        supply = self._supplies[name]
        label = rng.choice([one for one in supply.source.names if name != "emotions" or one in EMOTIONS])
        if free:
            trunk = self._encoder.trunk(predicate_prompt(self._question(label, rng)))
        else:
            task = rng.choice(TASKS[supply.source.task])
            trunk = self._encoder.trunk(multi_label_prompt(task, styled(label, draw_style(rng))))

        def draw() -> tuple[str, str]:
            if rng.random() < 0.5:
                return supply.of[label].deal().text, "yes"
            other = supply.all.deal()
            while label in other.labels:
                other = supply.all.deal()
            return other.text, "no"

        return self._grow(trunk, draw, room)

    def _question(self, label: str, rng: random.Random) -> str:
        if label in EMOTIONS:
            word = rng.choice(EMOTIONS[label])
            return rng.choice(
                (
                    "Is the customer {0}?",
                    "Is the writer {0}?",
                    "Does the customer sound {0}?",
                    "Is the user {0}?",
                    "Is this person {0}?",
                )
            ).format(word)
        return rng.choice(PREDICATES).format(spaced(label))

    def _grow(self, trunk: Piece, draw: Draw, room: int) -> Tree:
        """Adds branches until the next does not fit."""
        tree = Tree(trunk)
        left = room - len(trunk.ids)
        while True:
            branch = self._encoder.branch(*draw())
            if len(branch.ids) > LONGEST_TEXT and len(branch.ids) <= left:
                continue
            if len(branch.ids) > left:
                return tree
            tree.branches.append(branch)
            left -= len(branch.ids)
