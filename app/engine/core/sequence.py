"""Sequence: the tokens of one request and how far the engine has come with them."""

from dataclasses import dataclass, field
from enum import Enum, auto

from app.engine.label_tree import LabelTree, build_label_tree
from app.engine.messages import AddRequest, FinishReason, SequenceTimings


class SequenceStatus(Enum):
    """Where a sequence stands; only the scheduler changes it."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the engine.

    `tokens[:num_computed]` have their K and V in the cache at the blocks of `block_table`; a step moves
    `num_computed` towards `len(tokens)`. Chat appends a token when the two meet; a decision ends there.

    Attributes:
        arrival: instant of arrival (engine's monotonic clock, seconds), as are the other instants.
        cached_tokens: prompt tokens that the prefix cache served when the sequence was first scheduled.
        label_logprobs: for decisions, the log-probabilities of the tree's pairs whose rows were computed so far.
    """

    request: AddRequest
    arrival: float
    tokens: list[int]
    tree: LabelTree | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    finish_reason: FinishReason | None = None
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    cached_tokens: int | None = None
    first_scheduled: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None
    stop_token: int | None = None
    label_logprobs: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, request: AddRequest, now: float) -> "Sequence":
        """A new waiting sequence for `request`, which arrived at `now`."""
        if not request.labels or not all(
            request.labels
        ):  # an empty label has no tree; the scheduler refuses it
            return cls(request, now, request.prompt + request.said)
        tree = build_label_tree(request.labels)
        return cls(request, now, request.prompt + tree.tokens, tree)

    @property
    def id(self) -> int:
        return self.request.id

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt)

    @property
    def num_generated(self) -> int:
        return 0 if self.tree else len(self.tokens) - self.prompt_length

    @property
    def num_uncomputed(self) -> int:
        return len(self.tokens) - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """One token from catching up, with the prompt behind it."""
        return self.num_uncomputed == 1 and self.num_generated > 0

    @property
    def is_greedy(self) -> bool:
        """Whether its next token is the likeliest that the model gives, with nothing changed."""
        sampling = self.request.sampling
        return (
            sampling.temperature <= 0
            and not sampling.logit_bias
            and sampling.repetition_penalty == 1.0
            and not sampling.frequency_penalty
            and not sampling.presence_penalty
            and self.num_generated >= sampling.min_tokens
        )

    @property
    def says_likeliest(self) -> bool:
        """Whether it is greedy, and the token is all that there is to know."""
        return self.request.sampling.logprobs is None and self.is_greedy

    @property
    def deadline(self) -> float:
        """Instant of the deadline; infinite without one."""
        timeout = self.request.timeout
        return self.arrival + timeout if timeout is not None else float("inf")

    def label_scores(self) -> list[float]:
        """Log-probability of each label of a decision, once all its rows are computed."""
        assert self.tree is not None
        return [sum(map(self.label_logprobs.__getitem__, readout)) for readout in self.tree.readouts]

    def timings(self, now: float) -> SequenceTimings:
        """The stages until now, or until it ended; a stage that it never reached is 0."""
        end = self.ended if self.ended is not None else now
        scheduled = self.first_scheduled if self.first_scheduled is not None else end
        first = self.first_token if self.first_token is not None else end
        last = self.last_token if self.last_token is not None else first
        return SequenceTimings(scheduled - self.arrival, first - scheduled, last - first)

    @property
    def order(self) -> tuple[int, float, float, int]:
        """Sort key of a tenant's queue: priority, then who is due first, then arrival."""
        due = self.deadline
        if self.request.due is not None:
            due = min(due, self.arrival + self.request.due)
        return (self.request.priority, due, self.arrival, self.id)
