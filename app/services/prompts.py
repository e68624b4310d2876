"""PromptService: from text or token ids to sequences in the engine; what chat and completions share."""

import time
from collections.abc import Callable, Sequence

from app.engine.interface import Engine
from app.errors import InvalidRequest
from app.observation import Observation
from app.services import aside
from app.services.context_window import ContextWindow
from app.services.generation import Generation, open_generation
from app.services.options import GenerationOptions
from app.services.tokenizer import Tokenizer
from app.settings import Settings

INLINE_BYTES = 32 * 1024
"""Text up to this size is tokenized on the event loop; longer text would stall it."""


class PromptService:
    """Checks, tokenizes and submits; one for the process."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, settings: Settings) -> None:
        self._engine = engine
        self.tokenizer = tokenizer
        self._settings = settings

    @property
    def window(self) -> ContextWindow | None:
        """The model's limits; None until the engine told them (it refuses every request until then)."""
        info = self._engine.info
        return ContextWindow(info.max_model_len, info.vocab_size) if info else None

    async def tokenize(
        self,
        encode: Callable[[], list[list[int]]],
        sizes: Sequence[int],
        param: str,
        observation: Observation,
    ) -> list[list[int]]:
        """Token ids from `encode`, which reads texts of so many bytes.

        Raises:
            ContextLengthExceeded: a text cannot fit, whatever it says.
        """
        if observation.parse is None:
            observation.parse = observation.elapsed()
        if self.window:
            self.window.check_text(max(sizes, default=0), self.tokenizer, param)
        started = time.perf_counter()
        try:
            return encode() if sum(sizes) <= INLINE_BYTES else await aside.prompts(encode)
        finally:
            observation.tokenize = time.perf_counter() - started

    def open(
        self, prompts: Sequence[list[int]], options: GenerationOptions, param: str, observation: Observation
    ) -> Generation:
        """Submit all sequences.

        Raises:
            InvalidRequest: too many choices, an empty prompt, ids outside of the vocabulary.
            ContextLengthExceeded: a prompt does not fit.
            DeadlineExceeded, Unavailable: refused before anything was queued.
        """
        if options.n > self._settings.max_choices:
            raise InvalidRequest(f"n is at most {self._settings.max_choices} on this server.", "n")
        if not all(prompts):
            raise InvalidRequest("The prompt is empty.", param)
        timeout = options.timeout or self._settings.request_timeout_seconds
        most = self._max_tokens(prompts, options, param)
        return open_generation(self._engine, self.tokenizer, prompts, most, options, observation, timeout)

    def _max_tokens(self, prompts: Sequence[list[int]], options: GenerationOptions, param: str) -> list[int]:
        window = self.window
        if window is None:
            return [options.max_tokens or options.default_max_tokens] * len(prompts)
        window.check_ids(list(options.sampling.logit_bias), "logit_bias")
        window.check_ids(options.sampling.stop_token_ids, "stop_token_ids")
        return [window.max_tokens(len(prompt), options, param) for prompt in prompts]
