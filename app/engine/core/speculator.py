"""Speculator: which tokens a decoding sequence probably says next, and whether it pays to compute them already."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from app.engine.core.ahead import Draft, Fate
from app.engine.core.answer_store import AnswerStore
from app.engine.core.prompt_lookup import PromptLookup, match_length
from app.engine.core.sequence import Sequence
from app.engine.core.step_cost import StepCost

LONGEST_DRAFT = 16
"""Most tokens that one step computes at once."""
_LONGEST_CHAIN = 48
_LEAST_REACHED = 0.25
"""A draft goes on into later steps of a burst while it is so likely that they come to it."""
_LOOKING = 0.02
"""Share of the time that looking for drafts may cost where none are found."""
_CALL_MARGIN = 1.25
"""A draft is worth its call when it saves so many times as much: a failed one also cuts a burst short."""
_MARGIN = 1.1
"""A row is worth its cost when it saves so many times as much: what is measured and foretold is never exact."""
_TRIAL_STEPS = 16
_FIRST_REST, _LONGEST_REST = 8, 256
"""Tokens for which nothing is looked up for a sequence, after one trial that gained nothing and after several."""

Source = Literal["answers", "prompt"]
_SOURCES: tuple[Source, ...] = ("answers", "prompt")


@dataclass(slots=True)
class _Record:
    """How many of the tested tokens were right, against how many were foretold to be; the past fades."""

    right: float = 0.0
    foretold: float = 0.0

    def note(self, right: int, foretold: float, keep: float) -> None:
        self.right = self.right * keep + right
        self.foretold = self.foretold * keep + foretold

    def trust(self, prior: float, weight: float) -> float:
        """The factor that confidence must be multiplied with to be true, `prior` without experience."""
        return (self.right + weight * prior) / (self.foretold + weight)


@dataclass(slots=True)
class _Position:
    """Where one sequence stands in what it may be repeating.

    Attributes:
        length: tokens of the sequence for which the following is true.
        node: in the store of answers; -1 is nowhere.
        behind: index in the sequence's own tokens of what comes next if it repeats itself; -1 is nowhere.
        matched: how many tokens before `behind` are equal to the last ones.
        trial: steps since its gain was judged last, and `gain`, the seconds that its drafts saved in them.
        rest: length of the sequence until which nothing is looked up for it, and `pause`, for how many tokens the next
            time.
        claims: confidence in each token of the draft under way, and `source` where they are from.
    """

    length: int
    lookup: PromptLookup = field(default_factory=PromptLookup)
    node: int = -1
    behind: int = -1
    matched: int = 0
    trial: int = 0
    gain: float = 0.0
    rest: int = 0
    pause: int = _FIRST_REST
    claims: list[float] = field(default_factory=list)
    source: Source = "answers"
    records: dict[Source, _Record] = field(default_factory=lambda: {source: _Record() for source in _SOURCES})


@dataclass(slots=True)
class _Step:
    """A step to which rows are added.

    Attributes:
        base, row, around: seconds of a round without them, of each of them, and of what is around the rounds.
        sequences: that share these.
        kept: tokens that are likely kept.
    """

    base: float
    row: float
    around: float
    sequences: int
    kept: float
    rows: int = 0

    def pays(self, likelihood: float) -> bool:
        """Whether a row is worth its cost whose token is so likely kept."""
        return likelihood * (self.base + self.row * self.rows) > _MARGIN * self.row * self.kept

    def add(self, likelihood: float) -> None:
        self.kept += likelihood
        self.rows += 1


class Speculator:
    """Drafts tokens for sequences that repeat themselves or known answers.

    A row more is worth computing while the chance that its token is kept, times the time that a token takes, is above
    what the row adds to the step. The first comes from counts, corrected by how often such drafts were right in this
    sequence and in all; the second is measured. So drafts shorten where they fail, and under load. Where they gained
    nothing for some steps, a sequence is left alone for more and more of them.

    Args:
        answers: what is known to be said often.
        ends: tokens behind which nothing is drafted.
        max_model_len: longest sequence in tokens.
        cost: of the engine's decode steps.
        clock: seconds.
    """

    def __init__(
        self,
        answers: AnswerStore,
        ends: frozenset[int],
        max_model_len: int,
        cost: StepCost,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.cost = cost
        self._clock = clock
        self._looking = False
        self._answers = answers
        self._ends = ends
        self._max_model_len = max_model_len
        self._positions: dict[int, _Position] = {}
        self._records = {source: _Record() for source in _SOURCES}
        self._base = self._token_seconds = self._row_seconds = 0.0

    def drafts(self, sequences: list[Sequence], room: int, rounds: int) -> dict[int, Draft]:
        """Drafts for those of a decode step's sequences, by their number, for which they are worth their cost.

        Args:
            room: most tokens of all drafts' first widths together.
            rounds: of the step without drafts, where it is a burst; 0 where it is not.
        """
        self._looking, burst = False, bool(rounds)
        context = sum(len(sequence.tokens) for sequence in sequences)
        cost = self.cost.of(len(sequences), context, burst=burst)
        if cost is None or _MARGIN * cost[1] * len(sequences) >= cost[0]:
            return {}
        active = [(sequence, position) for sequence in sequences if (position := self._awake(sequence))]
        self._looking = bool(active)
        base, row = self._base, _ = cost
        around = self.cost.around(len(sequences), burst=burst)
        self._token_seconds, self._row_seconds = (base + around / max(rounds, 1)) / len(sequences), row
        step = _Step(base, row, around, len(sequences), float(len(sequences)))
        drafts = dict[int, Draft]()
        for sequence, position in active:
            started = self._clock()
            self._advance(sequence, position)
            if draft := self._draft(sequence, position, step, room - step.rows):
                drafts[sequence.id] = draft
            position.gain -= self._clock() - started
        return drafts

    def _draft(self, sequence: Sequence, position: _Position, step: _Step, room: int) -> Draft | None:
        """A draft that pays for its rows and for the step that it needs; its first rows are added to `step`."""
        position.claims.clear()
        most = self._most(sequence)
        trust = self._choose(position) if min(most, room) > 0 else 0.0
        if trust <= 0.0:
            return None
        tokens, widths, width, likelihood, reached = list[int](), list[int](), 0, 1.0, 1.0
        begun, said, seconds = 1.0, 1.0, (step.around + step.base) / step.sequences
        without = step.kept, step.rows
        for token, confidence in self._tokens(sequence, position, tokens):
            chance = min(confidence * trust, 0.99)
            most_rows = widths[0] if widths else min(LONGEST_DRAFT, room)
            pays = width < most_rows and step.pays(likelihood * chance)
            if not pays and not width:
                break
            reached *= chance
            if widths and reached < _LEAST_REACHED:
                break
            tokens.append(token)
            position.claims.append(confidence)
            if pays:
                likelihood *= chance
                width += 1
                seconds += step.row * begun
                if not widths:
                    step.add(likelihood)
            else:  # it comes from the step itself, and the next step's rows begin behind it
                widths.append(width)
                width, likelihood, begun = 0, 1.0, reached
                seconds += reached * step.base / step.sequences
            said += reached
            if len(tokens) == most or token in self._ends:
                break
        if width:
            widths.append(width)
        # Rows may pay for themselves in a step that does not pay for being called.
        if not widths or said * self._token_seconds <= _CALL_MARGIN * seconds:
            step.kept, step.rows = without
            return None
        return Draft(tuple(tokens), tuple(widths))

    def look_again(self, sequences: int, rounds: int) -> int:
        """Of the rounds that a step may have for which no drafts were found, how many until it is looked again."""
        if not rounds or not self._looking:
            return rounds
        around = self.cost.around(sequences, burst=True)
        return min(rounds, 1 + int(around / (_LOOKING * self._base + around / rounds)))

    def _awake(self, sequence: Sequence) -> _Position | None:
        """Count a step of the sequence; its position, unless this is a step in which nothing is looked up."""
        position = self._positions.get(sequence.id)
        if position is None:
            position = self._positions[sequence.id] = _Position(len(sequence.tokens))
        if len(sequence.tokens) < position.rest:
            return None
        position.trial += 1
        if position.trial > _TRIAL_STEPS:
            if position.gain < 0.0:
                position.rest = len(sequence.tokens) + position.pause
                position.pause = min(4 * position.pause, _LONGEST_REST)
            else:
                position.pause = _FIRST_REST
            position.trial, position.gain = 0, 0.0
        return position

    def verified(self, sequence: Sequence, fate: Fate) -> None:
        """What became of the sequence's draft."""
        position = self._positions[sequence.id]
        position.gain += fate.accepted * self._token_seconds - fate.drafted * self._row_seconds
        foretold = sum(position.claims[: fate.tested])
        position.records[position.source].note(fate.matched, foretold, keep=0.9)
        self._records[position.source].note(fate.matched, foretold, keep=0.99)

    def forget(self, sequence: Sequence) -> None:
        """The sequence ended."""
        self._positions.pop(sequence.id, None)

    def _most(self, sequence: Sequence) -> int:
        """Longest draft that could be kept whole; the token after it always comes."""
        left = sequence.request.sampling.max_tokens - sequence.num_generated
        return min(_LONGEST_CHAIN, left - 1, self._max_model_len - len(sequence.tokens) - 1)

    def _advance(self, sequence: Sequence, position: _Position) -> None:
        """Move the position over the tokens that came since the last call."""
        tokens = sequence.tokens
        node, behind = position.node, position.behind
        for index in range(position.length, len(tokens)):
            if node >= 0:
                token, _, reached = self._answers.follow(node)
                node = reached if token == tokens[index] else -1
            if behind >= 0:
                behind = behind + 1 if tokens[behind] == tokens[index] else -1
                position.matched += 1
        if behind < 0:
            behind = position.lookup.find(tokens)
            position.matched = match_length(tokens, behind) if behind >= 0 else 0
        position.node = node if node >= 0 else self._answers.find(tokens)
        position.behind, position.length = behind, len(tokens)

    def _choose(self, position: _Position) -> float:
        """Set the source that is the more certain of the next token; return the trust in it, 0 with no source."""
        best = trust = 0.0
        if position.node >= 0:
            trust = self._trust(position, "answers")
            best = self._answers.follow(position.node)[1] * trust
            position.source = "answers"
        if position.behind >= 0:
            other = self._trust(position, "prompt")
            if position.matched / (position.matched + 1) * other > best:
                trust, position.source = other, "prompt"
        return trust

    def _trust(self, position: _Position, source: Source) -> float:
        general = self._records[source].trust(1.0, 2.0)
        return position.records[source].trust(general, 2.0)

    def _tokens(
        self, sequence: Sequence, position: _Position, draft: list[int]
    ) -> Iterator[tuple[int, float]]:
        """Likely next tokens of the chosen source with the confidence in each, given those before it.

        Args:
            draft: those that were taken of them: a sequence that repeats itself may go on into them.
        """
        if position.source == "answers":
            node = position.node
            while node >= 0:
                token, confidence, node = self._answers.follow(node)
                yield token, confidence
            return
        tokens, index, matched = sequence.tokens, position.behind, position.matched
        while True:
            token = tokens[index] if index < len(tokens) else draft[index - len(tokens)]
            yield token, matched / (matched + 1)
            index += 1
            matched += 1
