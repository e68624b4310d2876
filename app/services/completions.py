"""CompletionService: plain text or token ids in, a generation of what follows out."""

from collections.abc import Sequence

from app.errors import InvalidRequest
from app.observation import Observation
from app.services.generation import Generation
from app.services.options import GenerationOptions
from app.services.prompts import PromptService

MAX_PROMPTS = 8


class CompletionService:
    """The text completion use case."""

    def __init__(self, prompts: PromptService) -> None:
        self._prompts = prompts

    async def start(
        self, prompts: Sequence[str | list[int]], options: GenerationOptions, observation: Observation
    ) -> Generation:
        """Tokenize and submit each prompt.

        Raises:
            InvalidRequest: no prompt or too many, an empty one, ids outside of the vocabulary.
            ContextLengthExceeded, DeadlineExceeded, Unavailable: refused before anything was queued.
        """
        if not 0 < len(prompts) <= MAX_PROMPTS:
            raise InvalidRequest(f"Between 1 and {MAX_PROMPTS} prompts are taken.", "prompt")
        sizes = [len(prompt.encode()) for prompt in prompts if isinstance(prompt, str)]
        ids = await self._prompts.tokenize(
            lambda: [self._encode(prompt) for prompt in prompts], sizes, "prompt", observation
        )
        return self._prompts.open(ids, options, "prompt", observation)

    def _encode(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self._prompts.tokenizer.encode_completion(prompt)
        if self._prompts.window:
            self._prompts.window.check_ids(prompt, "prompt")
        return prompt
