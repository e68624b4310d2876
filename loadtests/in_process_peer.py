"""What the peers without a server share: the runs they are told to make, and the instants they print.

Their harnesses run under an interpreter of their own, so they import nothing but this, their package and numpy.
"""

import json
import random
import sys
import time
from collections.abc import Callable

Prompts = list[list[int]]
Generate = Callable[[Prompts, int], list[list[float]]]
"""From the prompts of one run, submitted at once, and the number of new tokens: when each stream's tokens came."""

_LETTERS = range(4, 260)  # what every random tokenizer has for bytes


def make_runs(version: str, generate: Generate, runs: str) -> None:
    """Make each of `runs`, JSON of [streams, prompt tokens, new tokens], after a short one that counts for nothing.

    Prints one line of JSON: the version, resident bytes at the end, and of each run when it began and all instants, in
    seconds on `time.perf_counter`.
    """
    generate(_prompts(1, 16), 8)
    made = []
    for streams, prompt_tokens, new_tokens in json.loads(runs):
        prompts = _prompts(streams, prompt_tokens)
        sent = time.perf_counter()
        made.append({"sent": sent, "streams": generate(prompts, new_tokens)})
    print(json.dumps({"version": version, "resident": _resident_bytes(), "runs": made}))
    sys.stdout.flush()


def _prompts(streams: int, tokens: int) -> Prompts:
    return [random.choices(_LETTERS, k=tokens) for _ in range(streams)]


def _resident_bytes() -> int:
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
