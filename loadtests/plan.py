"""How much is measured: token counts, streams, rounds and limits of time."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The sizes of a run.

    Attributes:
        model: directory of the random-weight checkpoint.
        threads: of every engine alike; 0 leaves each its own choice.
        peers: the virtual environment that holds the peers which are no dependency of this project; None without one.
        prompt_lengths: tokens of the prompts whose first token is timed.
        first_tokens: how often each of them is timed in one round.
        long_prompts: how many prompts of `long_prompt` tokens come beside decoding streams, one after another.
        disturbed_tokens: new tokens of those streams, enough to outlast the prompts.
        repetitions: of each run with the embedded model, whose runs are short.
        decision_seconds: for which as many clients as the most streams ask for decisions.
        start_seconds: for a server to be ready.
        stream_seconds: after which a stream is cut and counted as far as it came.
    """

    model: Path
    threads: int = 0
    rounds: int = 3
    peers: Path | None = None
    prompt_tokens: int = 128
    new_tokens: int = 128
    streams: int = 8
    prompt_lengths: tuple[int, ...] = (128, 512, 2048)
    first_tokens: int = 2
    long_prompt: int = 2048
    long_prompts: int = 3
    disturbed_tokens: int = 128
    repetitions: int = 7
    classifications: int = 20
    decision_seconds: float = 4.0
    start_seconds: float = 180.0
    stream_seconds: float = 180.0

    @property
    def stream_counts(self) -> tuple[int, ...]:
        """The numbers of streams at which engines are compared."""
        return 1, self.streams, 2 * self.streams

    @property
    def thread_variables(self) -> dict[str, str]:
        """What tells a peer's PyTorch how many threads to use."""
        return {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
