"""StopStrings: finds the first stop string in a growing text and holds back what one may still take back."""

from collections.abc import Sequence


class StopStrings:
    """One sequence's stop strings; at most `longest - 1` characters are held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None
        """The stop string that ended the text."""

    def feed(self, text: str) -> str:
        """Text that may be shown now; nothing more once a stop string was found."""
        if not self._stops:
            return text
        if self.found is not None:
            return ""
        self._held += text
        places = [(self._held.find(stop), -len(stop), stop) for stop in self._stops if stop in self._held]
        if places:
            place, _, self.found = min(places)
            return self._release(place, drop=True)
        return self._release(len(self._held) - self._tail())

    def flush(self) -> str:
        """The end of the text came: what was held back is no stop string after all."""
        return "" if self.found is not None else self._release(len(self._held))

    def _release(self, length: int, drop: bool = False) -> str:
        text, self._held = self._held[:length], "" if drop else self._held[length:]
        return text

    def _tail(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
