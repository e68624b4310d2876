"""ContextWindow: what fits the model's context, decided in bytes before tokenizing and in tokens after it."""

from app.errors import AnswerTooLong, ContextLengthExceeded, InvalidRequest
from app.services.options import GenerationOptions
from app.services.tokenizer import Tokenizer


class ContextWindow:
    """The model's limits.

    Args:
        limit: longest sequence in tokens, prompt and answer together.
        vocab_size: number of token ids.
    """

    def __init__(self, limit: int, vocab_size: int) -> None:
        self._limit = limit
        self._vocab_size = vocab_size

    def check_text(self, size: int, tokenizer: Tokenizer, param: str) -> None:
        """Refuse text of so many bytes that no tokenization of it could fit.

        Raises:
            ContextLengthExceeded: it cannot fit.
        """
        if tokenizer.fewest_tokens(size) >= self._limit:
            raise ContextLengthExceeded(self._limit, param)

    def check_ids(self, ids: list[int], param: str) -> None:
        """Refuse token ids that the model does not have.

        Raises:
            InvalidRequest: an id is negative or too high.
        """
        if ids and not (min(ids) >= 0 and max(ids) < self._vocab_size):
            raise InvalidRequest("A token id is outside of the model's vocabulary.", param)

    def max_tokens(self, prompt_tokens: int, options: GenerationOptions, param: str) -> int:
        """Most tokens to generate after this prompt.

        Raises:
            ContextLengthExceeded: the prompt leaves no room for a token.
            AnswerTooLong: it leaves none for all that were asked for.
            InvalidRequest: `min_tokens` is above it.
        """
        room = self._limit - prompt_tokens
        if room < 1:
            raise ContextLengthExceeded(self._limit, param)
        if options.max_tokens is not None and options.max_tokens > room:
            raise AnswerTooLong(self._limit, options.max_tokens_param)
        most = min(options.default_max_tokens, room) if options.max_tokens is None else options.max_tokens
        if options.sampling.min_tokens > most:
            raise InvalidRequest("min_tokens is above the tokens that may be generated.", "min_tokens")
        return most
