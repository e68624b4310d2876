"""Answer: the text of one sequence as it grows, and why it ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.engine.messages import FinishReason, SequenceOutput, TokenLogprob
from app.engine.stream import RequestStream
from app.errors import SequenceFailed
from app.services.detokenizer import Detokenizer
from app.services.held_logprobs import HeldLogprobs
from app.services.stop_strings import StopStrings
from app.services.tokenizer import Tokenizer

Finish = Literal["stop", "length", "content_filter"]


@dataclass(slots=True)
class Piece:
    """What one wake-up added to one answer.

    Attributes:
        index: number of the answer within its request.
        text: may be empty while a character or a stop string is not decided.
        logprobs: when asked for, one entry for each token whose text has been shown now.
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
        self.index = index
        self.stream = stream
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopStrings(stop)
        self._may_stop = bool(stop)
        self._logprobs = HeldLogprobs()
        self.tokens = 0
        self.finish_reason: Finish | None = None
        self._first_at = self._last_at = 0.0
        self._decode: float | None = None

    @property
    def token_gap(self) -> float | None:
        """Mean seconds between its tokens, by the engine's clock where it ended the sequence; None with fewer than two.

        By ours, tokens that wait for a busy reader would seem to come together.
        """
        decode = self._last_at - self._first_at if self._decode is None else self._decode
        return decode / (self.tokens - 1) if self.tokens > 1 else None

    def take(self, outputs: Sequence[SequenceOutput]) -> Piece | None:
        """Add what the engine gave since the last time; None after the end, and where that is timings only.

        Raises:
            SequenceFailed: the engine gave the sequence up.
        """
        tokens, last = _tokens(outputs), outputs[-1]
        if self.finish_reason is not None or not (tokens or last.finish_reason):
            return None
        self._count(len(tokens))
        if last.finish_reason is not None and last.timings is not None:
            self._decode = last.timings.decode
        text = self._feed(tokens, [logprob for output in outputs for logprob in output.logprobs])
        if last.finish_reason is not None and self._stops.found is None:
            text += self._stops.feed(self._detokenizer.flush()) + self._stops.flush()
        self.finish_reason = self._finish(last.finish_reason)
        whole = self.finish_reason is not None and self._stops.found is None
        return Piece(self.index, text, self._logprobs.release(len(text), whole=whole), self.finish_reason)

    def refuse(self) -> None:
        """End it, or change how it ended: it says what it must not."""
        self.finish_reason = "content_filter"
        self.stream.close()

    def _count(self, tokens: int) -> None:
        if tokens:
            self._last_at = time.perf_counter()
            self._first_at = self._first_at or self._last_at
            self.tokens += tokens

    def _feed(self, tokens: list[int], logprobs: list[TokenLogprob]) -> str:
        """Text of the tokens that may be shown; their log-probabilities wait for it.

        With stop strings it is as if each token came alone: what stands behind the first one found does not count.
        """
        if not (logprobs or self._may_stop):
            return self._detokenizer.feed(tokens)
        shown = ""
        for index, token in enumerate(tokens):
            text = self._detokenizer.feed([token])
            if logprobs:
                self._logprobs.hold(logprobs[index], len(text))
            shown += self._stops.feed(text)
            if self._stops.found is not None:
                self.tokens -= len(tokens) - index - 1
                break
        return shown

    def _finish(self, reason: FinishReason | None) -> Finish | None:
        if self._stops.found is not None:
            self.stream.close(FinishReason.STOP)
            return "stop"
        match reason:
            case None:
                return None
            case FinishReason.STOP:
                return "stop"
            case FinishReason.LENGTH | FinishReason.DEADLINE:
                return "length"
        raise SequenceFailed


def _tokens(outputs: Sequence[SequenceOutput]) -> list[int]:
    if len(outputs) == 1:
        return outputs[0].tokens
    return [token for output in outputs for token in output.tokens]
