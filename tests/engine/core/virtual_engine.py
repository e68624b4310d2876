"""A scheduler on a virtual clock, with made-up tokens in the place of a model."""

from collections.abc import Callable
from typing import Any

from app.engine.core.block_manager import BlockManager
from app.engine.core.scheduler import ScheduledSequence, Scheduler, StepResult
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest, SamplingParams, SequenceOutput

EOS = 1


class VirtualEngine:
    """Steps a scheduler; each sequence that catches up gets the token that `choose` names."""

    def __init__(self, *, num_blocks: int = 64, block_size: int = 4, **overrides: Any) -> None:
        self.now = 100.0
        sizes = {"max_batch_tokens": 16, "max_running": 8, "prefill_chunk": 4, "max_model_len": 64}
        self.scheduler = Scheduler(
            BlockManager(num_blocks, block_size),
            eos_token_ids=frozenset([EOS]),
            clock=lambda: self.now,
            **(sizes | overrides),
        )

    def add(self, number: int, prompt: list[int], **request: Any) -> Sequence:
        """Queue a request; `max_tokens`, `ignore_eos` and `stop_token_ids` go to its sampling parameters."""
        names = ("max_tokens", "ignore_eos", "stop_token_ids")
        sampling = SamplingParams(**{name: request.pop(name) for name in names if name in request})
        sequence = Sequence.of(AddRequest(id=number, prompt=prompt, sampling=sampling, **request), self.now)
        self.scheduler.add(sequence)
        return sequence

    def schedule(self) -> list[ScheduledSequence]:
        """The next step's sequences, not yet run."""
        scheduled = self.scheduler.schedule()
        self.scheduler.check_invariants()
        return scheduled

    def finish(
        self,
        scheduled: list[ScheduledSequence],
        choose: Callable[[int], int] = lambda number: 9,
        failed: frozenset[int] = frozenset(),
    ) -> list[SequenceOutput]:
        """Run what was scheduled: requests in `failed` fail, the others get `choose(id)`."""
        results = []
        for item in scheduled:
            sequence = item.sequence
            if sequence.id in failed:
                results.append(StepResult(failed=True))
            elif sequence.tree:
                done = item.start + item.length - sequence.prompt_length
                sequence.label_logprobs = [-1.0 for row in sequence.tree.rows if row < done]
                results.append(StepResult())
            else:
                results.append(StepResult([choose(sequence.id)] if item.catches_up else []))
        outputs = self.scheduler.update(scheduled, results)
        self.scheduler.check_invariants()
        return outputs

    def step(self, *arguments: Any, **keywords: Any) -> list[SequenceOutput]:
        """One whole step; arguments as in `finish`."""
        return self.finish(self.schedule(), *arguments, **keywords)

    def run(self, steps: int = 1000) -> dict[int, list[SequenceOutput]]:
        """Step until idle, within so many steps; outputs by request."""
        outputs: dict[int, list[SequenceOutput]] = {}
        for _ in range(steps):
            for output in self.step() if self.scheduler.has_work else []:
                outputs.setdefault(output.id, []).append(output)
        assert not self.scheduler.has_work, "the scheduler does not come to an end"
        return outputs
