"""GenerationOptions: how one request wants its text generated."""

import msgspec

from app.engine.messages import SamplingParams

_INT64 = 1 << 64


class GenerationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to generate; shared by chat and completions.

    Attributes:
        sampling: everything about the next token; its `max_tokens` and `seed` are replaced.
        max_tokens: what the client asked for; None takes `default_max_tokens`, or less in a short context.
        max_tokens_param: the field that the client used for it.
        n: answers to each prompt.
        stop: texts that end an answer and are not part of it.
        seed: of the first answer; the others count on from it.
        timeout: seconds from the request's arrival to its deadline; None takes the server's default.
    """

    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    default_max_tokens: int = 16
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout: float | None = None
    priority: int = 0
    tenant: str = ""
    cache_salt: str = ""

    def sampling_of(self, choice: int, max_tokens: int) -> SamplingParams:
        """The engine's parameters of one answer."""
        return msgspec.structs.replace(self.sampling, max_tokens=max_tokens, seed=self._seed_of(choice))

    def _seed_of(self, choice: int) -> int | None:
        """Seeds are signed 64-bit numbers and wrap around."""
        if self.seed is None:
            return None
        return (self.seed + choice + _INT64 // 2) % _INT64 - _INT64 // 2
