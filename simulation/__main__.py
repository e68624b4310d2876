"""`python -m simulation`: random sessions of the engine on a virtual clock, for as many steps as are asked for.

python -m simulation [--steps 100000] [--seed S] [--session N]
"""

import argparse
import logging
import random
import sys
import time
from collections.abc import Sequence

from app.bench.markdown import aligned
from app.bench.options import positive
from simulation.traffic import Tally, Traffic

EXIT_VIOLATED = 1


def main(arguments: Sequence[str]) -> int:
    """Simulate and print; returns the exit code (1: something did not hold)."""
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    logging.getLogger("app.engine").setLevel(logging.CRITICAL)  # it tells of each injected fault
    tally, number, began = Tally(), options.session or 0, time.perf_counter()
    while tally.counts["steps"] < options.steps:
        traffic = Traffic(f"{seed} {number}")
        try:
            traffic.run()
        except Exception as error:
            print(f"{type(error).__name__} at step {traffic.session.counts['steps']}: {error}")
            print(f"Reproduce: python -m simulation --seed {seed} --session {number}")
            if not isinstance(error, AssertionError):
                raise
            return EXIT_VIOLATED
        tally.add(traffic.session)
        if options.session is not None:
            break
        number += 1
    print(report(tally, seed, time.perf_counter() - began))
    return 0


def report(tally: Tally, seed: int, seconds: float) -> str:
    """What was simulated."""
    steps = tally.counts["steps"]
    rows = {**tally.counts, **{f"ended: {name}": count for name, count in sorted(tally.ended.items())}}
    rows |= {f"fault: {name}": count for name, count in sorted(tally.faults.items())}
    return "\n".join(
        [
            f"seed {seed}: {tally.sessions} sessions, everything held",
            aligned(["of all sessions", "count"], [[name, f"{count:,}"] for name, count in rows.items()]),
            f"{steps / seconds:,.0f} steps/s",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulation", description=(__doc__ or "").partition("\n")[0].partition(": ")[2]
    )
    add = parser.add_argument
    add(
        "--steps", type=positive(int, 10**9), default=100_000, help="of the engine, at least; default: 100000"
    )
    add("--seed", type=int, help="of all sessions; a random one by default")
    add("--session", type=int, help="only this one")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
