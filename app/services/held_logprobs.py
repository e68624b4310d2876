"""HeldLogprobs: entries wait until the text of their token is shown, lest they tell what a stop string hides."""

from collections import deque

from app.engine.messages import TokenLogprob


class HeldLogprobs:
    """The tokens of one answer in order, each with the place in the decoded text where it ends."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, TokenLogprob]] = deque()
        self._decoded = 0
        self._shown = 0

    def hold(self, logprob: TokenLogprob, characters: int) -> None:
        """Take the next token, which made so many characters certain (none inside a character)."""
        self._decoded += characters
        self._held.append((self._decoded, logprob))

    def release(self, characters: int, *, whole: bool = False) -> list[TokenLogprob]:
        """Entries whose text has been shown, now that so many more characters are; with `whole`, all that are left."""
        self._shown += characters
        ready = []
        while self._held and (whole or self._held[0][0] <= self._shown):
            ready.append(self._held.popleft()[1])
        return ready
