"""Encodes conversations and decisions to token pieces with a loss weight on every token."""

from dataclasses import dataclass, field

from tokenizers import Tokenizer

from workshop.tokenizer import TURN_END, TURN_START

# Learning to predict what customers write is a cheap extra signal from the same tokens; it stays a side task
# ("Instruction Tuning With Loss Over Instructions", Shi et al. 2024).
USER_WEIGHT = 0.15


@dataclass
class Piece:
    """Token ids and, for each, the weight of the loss of predicting it from those before."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def extend(self, ids: list[int], weight: float) -> None:
        """Appends tokens of one weight."""
        self.ids.extend(ids)
        self.weights.extend([weight] * len(ids))


@dataclass
class Tree:
    """A trunk and branches that each continue it on their own; a conversation is a trunk without branches."""

    trunk: Piece
    branches: list[Piece] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.trunk.ids) + sum(len(branch.ids) for branch in self.branches)


@dataclass(frozen=True)
class Message:
    """One turn: role is system, user, assistant or tool."""

    role: str
    content: str


class Encoder:
    """Encodes turns with one tokenizer; text never becomes a control token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True
        self._memory: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        """Plain text to ids; short texts are remembered because labels come again and again."""
        if len(text) > 160:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        if text not in self._memory:
            self._memory[text] = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return self._memory[text]

    def decode(self, ids: list[int]) -> str:
        """Ids to text; control tokens stay visible."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def header(self, role: str) -> list[int]:
        """What stands before a turn's content."""
        return [TURN_START, *self.text(role + "\n")]

    def turn(self, piece: Piece, message: Message) -> None:
        """Appends a whole turn; assistant turns carry the full loss, with their end token."""
        weight = {"assistant": 1.0, "user": USER_WEIGHT}.get(message.role, 0.0)
        piece.extend(self.header(message.role), 0.0)
        piece.extend([*self.text(message.content)], weight)
        piece.extend([TURN_END], 1.0 if message.role == "assistant" else 0.0)
        piece.extend(self.text("\n"), 0.0)

    def conversation(self, messages: list[Message]) -> Tree:
        """A conversation as one trunk."""
        piece = Piece()
        for message in messages:
            self.turn(piece, message)
        return Tree(piece)

    def trunk(self, system: str) -> Piece:
        """The system turn that the branches of a decision share."""
        piece = Piece()
        self.turn(piece, Message("system", system))
        return piece

    def branch(self, text: str, label: str) -> Piece:
        """A user turn and the label that answers it."""
        piece = Piece()
        self.turn(piece, Message("user", text))
        piece.extend(self.header("assistant"), 0.0)
        piece.extend(self.text(label), 1.0)
        piece.extend([TURN_END], 1.0)
        return piece
