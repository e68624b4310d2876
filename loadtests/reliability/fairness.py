"""A tenant within its share beside a neighbour that asks for ten times its own.

python -m loadtests.reliability.fairness --capacity C [--seconds 60] [--write]

A service with two keys is started. Each tenant has a share of C / 2: one asks for 0.8 of it, alone and then beside the
other, which asks for ten times its share. C is what `make capacity` finds on the same machine.
"""

import argparse
import asyncio
import itertools
import random
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from app.bench.ask import Server
from app.bench.http_stream import Connections
from app.bench.loops import TooManyInFlight, open_loop, poisson
from app.bench.markdown import aligned, number
from app.bench.options import positive
from app.bench.sample import Sample
from app.bench.voided import void_reason
from app.keys import new_key
from loadtests import dated_page
from loadtests.front_end import FrontEnd
from loadtests.processes import ProcessFailed
from loadtests.ready_service import ready_service
from loadtests.reliability.overload import EXIT_MISSED, EXIT_REFUSED, EXIT_VOID, HEAD, MOST_IN_FLIGHT, Phase

IN_SHARE, NEIGHBOUR = 0.8, 10.0
SERVED = 0.999
_MODEL = "repartee-support"
_WARM_UP_SECONDS = 3.0


@contextmanager
def service() -> Iterator[tuple[str, str, str]]:
    """A service with a key for each of two tenants; yields its address and the keys.

    Raises:
        ProcessFailed: it does not start.
    """
    keys = [new_key(tenant) for tenant in ("within", "beyond")]
    with TemporaryDirectory(prefix="repartee-fairness-") as directory:
        file = Path(directory) / "keys.json"
        file.write_bytes(msgspec.json.encode([entry for _, entry in keys]))
        with ready_service({"API_KEYS_FILE": str(file), "LOG_LEVEL": "warning"}) as started:
            yield f"{started.url}/v1", keys[0][0], keys[1][0]


async def send(server: Server, rate: float, seconds: float, seed: int | None) -> list[Sample]:
    """The mix from one tenant at a rate.

    Raises:
        TooManyInFlight: the server neither answers nor refuses.
    """
    samples: list[Sample] = []
    front_end = FrontEnd(_MODEL, random.Random(seed))
    due = itertools.takewhile(lambda at: at < seconds, poisson(rate, front_end.chooser))
    await open_loop(server, front_end.next_ask, ((at, rate) for at in due), samples, MOST_IN_FLIGHT)
    return samples


async def run(
    url: str, keys: tuple[str, str], capacity: float, seconds: float, seed: int | None
) -> list[Phase]:
    """The first tenant alone, then both at once."""
    within, beyond = (Server(url, Connections(key)) for key in keys)
    quiet, loud = IN_SHARE * capacity / 2, NEIGHBOUR * capacity / 2
    await send(within, quiet, _WARM_UP_SECONDS, seed)
    alone = await send(within, quiet, seconds, seed)
    beside, neighbour = await asyncio.gather(
        send(within, quiet, seconds, seed), send(beyond, loud, seconds, seed)
    )
    for server in (within, beyond):
        server.connections.close()
    return [
        Phase.of("within its share, alone", quiet, alone, seconds),
        Phase.of("within its share, beside", quiet, beside, seconds),
        Phase.of("the neighbour", loud, neighbour, seconds),
    ]


def served(phase: Phase) -> float:
    """Share of the requests that were answered, whoever left."""
    failed = len(phase.refusals) + phase.figures.failed
    return 1 - failed / len(phase.samples) if phase.samples else 0.0


def main(arguments: Sequence[str]) -> int:
    """Run, print and write; returns the exit code (1: the bar was missed, 2: refused, 4: the client voids the run)."""
    options = _parser().parse_args(arguments)
    try:
        with service() as (url, *keys), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            phases = runner.run(run(url, (keys[0], keys[1]), options.capacity, options.seconds, options.seed))
    except (ProcessFailed, TooManyInFlight) as error:
        print(f"loadtests.reliability.fairness: {error}", file=sys.stderr)
        return EXIT_REFUSED
    share = served(phases[1])
    void = void_reason([sample for phase in phases for sample in phase.samples])
    text = "\n\n".join(
        [
            f"**{'Met' if share >= SERVED else 'MISSED'}: {100 * share:.2f} % of what the tenant within its share "
            f"asked for beside the neighbour was served**; the bar is {100 * SERVED:.1f} %.",
            aligned([*HEAD, "served %"], [[*phase.row(), number(100 * served(phase))] for phase in phases]),
            f"C = {options.capacity:g} requests a second. The client ran on the same machine"
            + (f"; the run is {void}." if void else "."),
        ]
    )
    command = shlex.join(["python", "-m", "loadtests.reliability.fairness", *arguments])
    dated_page.publish("fairness", dated_page.headed("Two tenants", command, text), write=options.write)
    return EXIT_VOID if void else 0 if share >= SERVED else EXIT_MISSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.fairness", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--capacity", type=positive(float, 1e5), required=True, help="C, requests a second")
    add("--seconds", type=positive(float, 600), default=60.0, help="of each phase; default: 60")
    add("--seed", type=int, help="of arrivals and questions")
    dated_page.add_option(parser, "fairness")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
