"""`make chaos`: a real service under good traffic, everything around it failing, and the checker of its history.

python -m loadtests.reliability.chaos [--seconds 400] [--seed S] [--write]
"""

import argparse
import random
import shlex
import sys
from asyncio import Runner
from collections.abc import Sequence

import uvloop

from app.bench.http_stream import RequestFailed
from app.bench.options import positive
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.reliability.chaos import report
from loadtests.reliability.chaos.life import Life, live
from loadtests.reliability.chaos.service import subject

EXIT_VIOLATED = 1
EXIT_REFUSED = 2
EXIT_MISSED = 3
_MOST_SECONDS = 520.0
"""With starts, the last faults and drains this is ten minutes."""


def main(arguments: Sequence[str]) -> int:
    """Run, print, write; returns the exit code (1: a rule is violated, 2: nothing ran, 3: only a figure is missed)."""
    options = _parser().parse_args(arguments)
    facts = machine()
    print(f"seed {options.seed}", file=sys.stderr)
    try:
        lives = [_life(options.seconds, options.seed), _life_with_full_log(options.seed)]
        command = shlex.join(
            [
                "python",
                "-m",
                "loadtests.reliability.chaos",
                f"--seconds={options.seconds:g}",
                f"--seed={options.seed}",
            ]
        )
        page = report.render(lives, facts, command)
        dated_page.publish("chaos", page, write=options.write)
    except (ProcessFailed, RequestFailed, OSError) as error:
        print(f"loadtests.reliability.chaos: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if any(life.violations for life in lives):
        return EXIT_VIOLATED
    return EXIT_MISSED if any(one.within is False for one in report.figures(lives)) else 0


def _life(seconds: float, seed: int) -> Life:
    with subject() as service, Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(live(service, seconds, seed))


def _life_with_full_log(seed: int) -> Life:
    with subject(full_log=True) as service, Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(live(service, 0.0, seed + 1, ["kill"], ["bad", "leave"], engine_hangs=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.chaos", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add(
        "--seconds",
        type=positive(float, _MOST_SECONDS),
        default=_MOST_SECONDS,
        help="of faults, each kind once at least; default and most: %(default)g",
    )
    add("--seed", type=int, default=random.randrange(10**6), help="of the plan; default: another each time")
    dated_page.add_option(parser, "chaos")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
