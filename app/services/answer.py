"""Answer: the text of one sequence as it grows, and why it ended."""

from dataclasses import dataclass, field
from typing import Literal

from app.engine.messages import FinishReason, SequenceOutput, TokenLogprob
from app.engine.stream import RequestStream
from app.errors import SequenceFailed
from app.services.detokenizer import Detokenizer
from app.services.stop_strings import StopStrings
from app.services.tokenizer import Tokenizer

Finish = Literal["stop", "length"]


@dataclass(slots=True)
class Piece:
    """What one wake-up added to one answer.

    Attributes:
        index: number of the answer within its request.
        text: may be empty while a character or a stop string is not decided.
        logprobs: one entry for each new token, when asked for.
        finish_reason: set on the answer's last piece.
    """

    index: int
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: Finish | None = None


class Answer:
    """One sequence of a request; closes its stream when a stop string ends it early."""

    def __init__(
        self, index: int, stream: RequestStream, tokenizer: Tokenizer, stop: tuple[str, ...]
    ) -> None:
        self._index = index
        self.stream = stream
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopStrings(stop)
        self.tokens = 0
        self.finish_reason: Finish | None = None

    def take(self, output: SequenceOutput) -> Piece | None:
        """Add one output of the engine; None after the end.

        Raises:
            SequenceFailed: the engine gave the sequence up.
        """
        if self.finish_reason is not None:
            return None
        self.tokens += len(output.tokens)
        text = self._stops.feed(self._detokenizer.feed(output.tokens))
        if output.finish_reason is not None and self._stops.found is None:
            text += self._stops.feed(self._detokenizer.flush()) + self._stops.flush()
        self.finish_reason = self._finish(output.finish_reason)
        return Piece(self._index, text, output.logprobs, self.finish_reason)

    def _finish(self, reason: FinishReason | None) -> Finish | None:
        if self._stops.found is not None:
            self.stream.close()
            return "stop"
        match reason:
            case None:
                return None
            case FinishReason.STOP:
                return "stop"
            case FinishReason.LENGTH:
                return "length"
        raise SequenceFailed
