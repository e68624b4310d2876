"""An EngineObserver that remembers what it was told."""

from typing import Any


class RecordingObserver:
    """Keeps every call as (name, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, arguments))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of all calls of `name`."""
        return [arguments for called, arguments in self.calls if called == name]
