"""VirtualClock: seconds that pass only when somebody lets them."""


class VirtualClock:
    """A monotonic clock to be called; it stands still between calls of `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, at least 0."""
        assert seconds >= 0.0
        self.now += seconds
