"""What `app bench` may be told, and what is nonsense."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from app.bench.voided import MOST_LAG_SECONDS
from app.slos import DEFAULT_FILE

_DESCRIPTION = """\
Send chats to a running server that speaks OpenAI's HTTP API, this one or another, and show what its clients see:
time to the first token, gaps, whole answers, tokens a second, and goodput, the requests a second that met every
objective. --concurrency sends as many at once and the next when one is answered (closed loop); --rate sends by the
clock, whatever became of those before, and counts latency from when a request was due (open loop)."""
_EPILOG = """\
examples:
  python -m app bench --url http://127.0.0.1:8000
  python -m app bench --url http://127.0.0.1:8000 --rate 20 --requests 600 --plot plots
  OPENAI_API_KEY=... python -m app bench --url https://llm.example.com/v1 --model m --concurrency 8 --json

An API key is taken from OPENAI_API_KEY, where there is one.

exit codes: 0 every request was answered; 1 some failed; 2 a wrong option, a missing tool, or a server that does not
answer; 4 the run is void, because the client was too slow"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        SystemExit: with code 2 after one line, or 0 after the help.
    """
    return _Parser().parse_args(arguments)


def positive(kind: Callable[[str], float], most: float) -> Callable[[str], float]:
    """A number of a kind above 0 and up to `most`."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value <= most:  # false for nan, too
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} above 0 and up to {most:,.0f}")
        return value

    return read


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        super().__init__(
            prog="python -m app bench",
            description=_DESCRIPTION,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add, count = self.add_argument, positive(int, 1_000_000)
        add("--url", default="http://127.0.0.1:8000", help="base address of the API; default: %(default)s")
        add("--model", help="default: the only one that the server names")
        load = self.add_mutually_exclusive_group()
        load.add_argument(
            "--concurrency",
            type=positive(int, 4096),
            metavar="N",
            help="closed loop: the next is sent when one ended, at once also where that was refused; default: 4",
        )
        load.add_argument(
            "--rate", type=positive(float, 100_000), metavar="R", help="open loop, requests a second"
        )
        add(
            "--arrivals",
            choices=("poisson", "constant"),
            default="poisson",
            help="of the open loop; default: poisson",
        )
        add("--requests", type=count, default=100, metavar="N", help="default: 100")
        add("--seconds", type=positive(float, 86_400), default=120.0, metavar="S",
            help="after this time no more are sent; default: 120")  # fmt: skip
        add(
            "--timeout",
            type=positive(float, 3600),
            default=60.0,
            metavar="S",
            help="of one request; default: 60",
        )
        add("--api", choices=("chat", "completions"), default="chat", help="default: chat")
        add(
            "--prompts",
            type=Path,
            metavar="FILE",
            help="one prompt a line; default: made-up questions",
        )
        add("--max-tokens", type=count, default=128, metavar="N", help="of one answer; default: 128")
        add(
            "--no-usage",
            action="store_true",
            help="ask for no token counts: for servers that refuse stream_options",
        )
        add(
            "--slos",
            type=Path,
            default=DEFAULT_FILE,
            metavar="FILE",
            help="objectives; default: the service's own",
        )
        add("--most-lag", type=positive(float, 60), default=MOST_LAG_SECONDS, metavar="S",
            help=f"p99 of the client's own lateness that voids the run; default: {MOST_LAG_SECONDS:g}")  # fmt: skip
        add("--seed", type=int, default=None, help="of arrivals and made-up questions")
        add("--json", action="store_true", help="print one JSON object instead of tables")
        add("--samples", type=Path, metavar="FILE", help="write a JSON line for each request")
        add(
            "--plot",
            type=Path,
            metavar="DIR",
            help="write a picture (PNG) and a page (HTML); needs matplotlib",
        )

    def error(self, message: str) -> NoReturn:
        """One line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")
