"""The peer without a server: transformers' `generate`, timed token by token, in a process of its own.

    python -m loadtests.bare_generate MODEL DTYPE PROMPT_TOKENS NEW_TOKENS SECONDS

Prints one line of JSON, named as `loadtests.cases` names its figures.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from app.bench.client import Timeline
from loadtests.cases import named, speed_figures


class _Clock(BaseStreamer):  # type: ignore[misc]
    """Notes when each token was handed out; the first call brings the prompt."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Take a token."""
        if self._prompt_seen:
            self._timeline.texts.append(time.perf_counter())
        self._prompt_seen = True

    def end(self) -> None:
        """The last token has been handed out."""


def generate(model: Any, prompt_tokens: int, new_tokens: int, seconds: float) -> Timeline:
    """Greedy tokens after a random prompt; stops after `seconds`, wherever it is."""
    chooser = random.Random()
    prompt = [[chooser.randrange(4, 260) for _ in range(prompt_tokens)]]
    timeline = Timeline(time.perf_counter(), prompt_tokens=prompt_tokens)
    with torch.inference_mode():
        model.generate(
            torch.tensor(prompt),
            attention_mask=torch.ones(1, prompt_tokens, dtype=torch.long),
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            max_time=seconds,
            streamer=_Clock(timeline),
        )
    timeline.ended = time.perf_counter()
    timeline.tokens = len(timeline.texts)
    return timeline


def main(model: str, dtype: str, prompt_tokens: str, new_tokens: str, seconds: str) -> None:
    """Load, warm up, measure, print."""
    threads = os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(int(threads) if threads else os.cpu_count() or 1)
    loaded = AutoModelForCausalLM.from_pretrained(Path(model), dtype=getattr(torch, dtype)).eval()
    generate(loaded, int(prompt_tokens), 2, float(seconds))
    figures = named(
        "1 x", speed_figures([generate(loaded, int(prompt_tokens), int(new_tokens), float(seconds))])
    )
    figures["RSS MB"] = psutil.Process().memory_info().rss / (1 << 20)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
