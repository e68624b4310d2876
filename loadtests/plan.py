"""How much is measured: token counts, streams, rounds and limits of time."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The sizes of a run.

    Attributes:
        model: directory of the random-weight checkpoint.
        threads: of every engine alike; 0 leaves each its own choice.
        start_seconds: for a server to be ready.
        stream_seconds: after which a stream is cut and counted as far as it came.
    """

    model: Path
    threads: int = 0
    rounds: int = 3
    prompt_tokens: int = 128
    new_tokens: int = 128
    streams: int = 8
    long_prompt: int = 2000
    classifications: int = 20
    start_seconds: float = 180.0
    stream_seconds: float = 180.0

    @property
    def thread_variables(self) -> dict[str, str]:
        """What tells a peer's PyTorch how many threads to use."""
        return {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
