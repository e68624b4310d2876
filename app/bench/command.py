"""`python -m app bench`: load a running server, print what its clients see."""

import argparse
import asyncio
import datetime
import itertools
import os
import platform
import random
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson
import uvloop

from app import exit_codes
from app.bench import page, plots
from app.bench.address import InvalidUrl, base_address
from app.bench.ask import Ask, Server
from app.bench.figures import Figures, figures, span
from app.bench.http_stream import Connections, RequestFailed
from app.bench.loops import TooManyInFlight, closed_loop, constant, open_loop, poisson
from app.bench.options import parse
from app.bench.questions import ask_for, question
from app.bench.sample import Sample, write_samples
from app.bench.summary import plain, summary
from app.bench.voided import void_reason
from app.slos import InvalidSlos, Slo, load_slos


class _Refused(Exception):
    """What was asked cannot be done; the message is one line for the operator."""


@dataclass
class _Run:
    """What was sent, and what came of it."""

    model: str
    samples: list[Sample] = field(default_factory=list)
    cut: str | None = None


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code (see `--help`).

    Raises:
        SystemExit: an option is wrong, or help was asked for.
    """
    options = parse(arguments)
    try:
        base, slos, prompts = _checked(options)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            done = runner.run(_load(options, base, prompts))
        found = figures(done.samples, slos, span(done.samples))
        void = void_reason(done.samples, options.most_lag)
        _show(options, arguments, done, found, void)
        _write(options, arguments, done, found, slos, void)
    except _Refused as error:
        print(f"python -m app bench: {error}", file=sys.stderr)
        return exit_codes.CONFIGURATION
    except KeyboardInterrupt:
        print("python -m app bench: stopped, and nothing was reported", file=sys.stderr)
        return exit_codes.FAILED
    if done.cut:
        print(f"python -m app bench: {done.cut}; the rest was not sent", file=sys.stderr)
    if void:
        print(f"python -m app bench: {void}", file=sys.stderr)
        return exit_codes.VOID
    return exit_codes.FAILED if found.failed else exit_codes.OK


def _checked(options: argparse.Namespace) -> tuple[str, tuple[Slo, ...], list[str]]:
    """Base address, objectives and prompts.

    Raises:
        _Refused: one of them is wrong, or a file cannot be written later.
    """
    if options.plot and not plots.can_plot():
        raise _Refused(plots.MISSING)
    try:
        prompts = [line for line in options.prompts.read_text("utf-8").splitlines() if line.strip()] \
            if options.prompts else []  # fmt: skip
        if options.prompts and not prompts:
            raise _Refused(f"{options.prompts} has no prompt")
        if options.samples:
            options.samples.open("ab").close()
        if options.plot:
            options.plot.mkdir(parents=True, exist_ok=True)
        return base_address(options.url), load_slos(options.slos), prompts
    except (InvalidUrl, InvalidSlos) as error:
        raise _Refused(str(error)) from error
    except OSError as error:
        raise _Refused(f"{error.filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Refused(f"{options.prompts} is no text in UTF-8") from error


async def _load(options: argparse.Namespace, base: str, prompts: Sequence[str]) -> _Run:
    connections = Connections(_key())
    server = Server(base, connections, options.timeout, "unasked" if options.no_usage else "wanted")
    chooser = random.Random(options.seed)
    try:
        done = _Run(options.model or await _only_model(server))
        next_ask = _asks(options, done.model, prompts, chooser)
        print(f"{options.requests} requests to {base} ...", file=sys.stderr)
        if options.rate:
            times = (
                poisson(options.rate, chooser) if options.arrivals == "poisson" else constant(options.rate)
            )
            due = itertools.takewhile(
                lambda at: at < options.seconds, itertools.islice(times, options.requests)
            )
            try:
                await open_loop(server, next_ask, ((at, options.rate) for at in due), done.samples)
            except TooManyInFlight as error:
                done.cut = str(error)
        else:
            users = options.concurrency or 4
            await closed_loop(server, next_ask, users, options.requests, options.seconds, done.samples)
    finally:
        connections.close()
    if not done.samples:
        raise _Refused(f"no request was due within {options.seconds:g} s")
    return done


def _key() -> str:
    key = os.environ.get("OPENAI_API_KEY", "")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise _Refused("OPENAI_API_KEY holds no key: a key has no spaces, line ends or letters beyond ASCII")
    return key


async def _only_model(server: Server) -> str:
    try:
        async with asyncio.timeout(server.limit):
            models = await server.models()
    except (RequestFailed, OSError) as error:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise _Refused(f"{server.base} does not answer: {text}") from error
    except TimeoutError as error:
        raise _Refused(f"{server.base} does not answer within {server.limit:g} s") from error
    if len(models) != 1:
        raise _Refused(f"the server names {len(models)} models; choose with --model")
    return models[0]


def _asks(
    options: argparse.Namespace, model: str, prompts: Sequence[str], chooser: random.Random
) -> Callable[[], Ask]:
    turns = itertools.cycle(prompts) if prompts else iter(lambda: question(chooser), None)
    return lambda: ask_for(next(turns), model, options.max_tokens, chat=options.api == "chat")


def _title(options: argparse.Namespace, model: str) -> str:
    load = f"{options.rate:g} requests/s ({options.arrivals})" if options.rate else \
        f"{options.concurrency or 4} at a time"  # fmt: skip
    return f"{model}, {load}"


def _show(
    options: argparse.Namespace, arguments: Sequence[str], done: _Run, found: Figures, void: str | None
) -> None:
    if options.json:
        facts = {"model": done.model, "command": _command(arguments), "void": void, "cut": done.cut} | plain(
            found
        )
        print(orjson.dumps(facts).decode())
    else:
        print(f"{_title(options, done.model)}: {found.requests} requests in {found.seconds:.1f} s\n")
        if void:
            print(f"Not to be trusted, {void}\n")
        print(summary(found))


def _write(
    options: argparse.Namespace,
    arguments: Sequence[str],
    done: _Run,
    found: Figures,
    slos: Sequence[Slo],
    void: str | None,
) -> None:
    """The files that were asked for.

    Raises:
        _Refused: one cannot be written.
    """
    try:
        if options.samples:
            write_samples(options.samples, done.samples)
        if options.plot:
            title = _title(options, done.model)
            facts = {
                "date": datetime.date.today().isoformat(),
                "client": f"{platform.machine()}, {os.cpu_count()} cores",
                "command": _command(arguments),
            }
            if warnings := "; ".join(filter(None, (void, done.cut))):
                facts["not to be trusted"] = warnings
            picture = plots.latency_picture(title, {"answers": done.samples}, slos)
            written = page.save(options.plot, "bench", title, facts, {"latency": picture}, summary(found))
            print("wrote " + ", ".join(map(str, written)), file=sys.stderr)
    except OSError as error:
        raise _Refused(f"{error.filename}: {error.strerror}") from error


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "app", "bench", *arguments])
