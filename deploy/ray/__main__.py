"""`python -m deploy.ray`: N replicas behind one address on this machine, until SIGINT or SIGTERM.

SIGHUP replaces them one after another without an interruption, so that they read the files of the settings anew.
"""

import argparse
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app import exit_codes
from app.configuration import WRONG_CONFIGURATION, complaint, load_configuration
from app.serve import UNUSABLE, reason
from app.server import open_listeners
from app.settings import PREFIX, Settings
from deploy.ray import environment
from deploy.ray.service import Service

_HOSTS = {"127.0.0.1", "0.0.0.0"}
_HAPROXY_PORTS = {"RAY_SERVE_HAPROXY_METRICS_PORT": 9101, "RAY_SERVE_HAPROXY_STATS_PORT": 8404}


class CannotStart(Exception):
    """Something is missing or in use; the message is for the operator."""


@dataclass(frozen=True)
class Replicas:
    """How many replicas: from `least` to `most`, as many as keep `ongoing` requests each."""

    least: int
    most: int
    ongoing: float = 16

    @classmethod
    def parse(cls, text: str) -> "Replicas":
        """`2` or `1:4`.

        Raises:
            argparse.ArgumentTypeError: neither.
        """
        if not (match := re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text)):
            raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor LEAST:MOST")
        least, most = int(match[1]), int(match[2] or match[1])
        if not 1 <= least <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more, and no more at most than at least")
        return cls(least, most)

    def autoscaling(self) -> dict[str, float]:
        """Ray Serve's form; equal bounds are a fixed number."""
        return {
            "min_replicas": self.least,
            "initial_replicas": self.least,
            "max_replicas": self.most,
            "target_ongoing_requests": self.ongoing,
        }


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal; returns the exit code (2: wrong configuration, 3: the replicas cannot start)."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_configuration()
        _check(settings)
    except WRONG_CONFIGURATION as error:
        print(complaint(error), file=sys.stderr)
        return exit_codes.CONFIGURATION
    except UNUSABLE as error:
        print(reason(settings, error), file=sys.stderr)
        return exit_codes.CONFIGURATION
    except CannotStart as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIGURATION
    environment.set_defaults()
    replicas = Replicas(options.replicas.least, options.replicas.most, options.ongoing)
    cpus = options.cpus or max(1, (os.cpu_count() or 1) // replicas.most)
    return _serve(settings, replicas, cpus)


def _check(settings: Settings) -> None:
    """Find what is wrong here, in one line, and not later in the log of some replica."""
    if settings.host not in _HOSTS:
        raise CannotStart(
            f"{PREFIX}HOST is {settings.host}; Ray Serve's HAProxy reaches replicas on {' or '.join(sorted(_HOSTS))}."
        )
    for listener in open_listeners(settings):
        listener.close()
    for variable, default in _HAPROXY_PORTS.items():
        port = os.environ.get(variable, str(default))
        try:
            socket.create_server(("", int(port))).close()
        except (OSError, OverflowError, ValueError):
            raise CannotStart(
                f"HAProxy cannot listen on port {port}: set {variable} to a free one."
            ) from None
    Service(settings).close()  # never started


def _serve(settings: Settings, replicas: Replicas, cpus: int) -> int:
    from ray import serve  # slow to import, and it reads the environment

    from deploy.ray.application import NAME, deployment

    with _local_cluster(max(cpus * replicas.most, os.cpu_count() or 1), settings) as gpus:
        try:
            actor = {"num_cpus": cpus, "num_gpus": gpus_of_each(settings.device, gpus, replicas)}
        except CannotStart as error:
            print(error, file=sys.stderr)
            return exit_codes.CONFIGURATION
        wishes = _Wishes()
        while not wishes.end:
            scaled = deployment(settings).options(
                num_replicas="auto", autoscaling_config=replicas.autoscaling(), ray_actor_options=actor
            )
            try:
                serve.run(scaled.bind(), name=NAME)
            except RuntimeError:
                print(f"The replicas cannot start: {_reason()}", file=sys.stderr)
                return exit_codes.ENGINE
            print(f"Repartee is ready on http://{settings.host}:{settings.port}", file=sys.stderr, flush=True)
            wishes.wait()
        serve.delete(NAME)  # lets streams end; a shutdown of Serve would cut them
    return 0


class _Wishes:
    """What the operator wants by signal: SIGINT and SIGTERM the end, SIGHUP other replicas, one after another."""

    def __init__(self) -> None:
        self.end = False
        self._signalled = threading.Event()
        signal.signal(signal.SIGHUP, lambda *_: self._signalled.set())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._want_end())

    def _want_end(self) -> None:
        self.end = True
        self._signalled.set()

    def wait(self) -> None:
        """Return at the next signal."""
        self._signalled.wait()
        self._signalled.clear()


def gpus_of_each(device: str, gpus: int, replicas: Replicas) -> int:
    """GPUs of each replica: from one that has none, Ray hides them all.

    Raises:
        CannotStart: there are too few.
    """
    if device == "cpu" or (device == "auto" and gpus == 0):
        return 0
    if replicas.most > gpus:
        raise CannotStart(
            f"{replicas.most} replicas need a GPU each, and there are {gpus}: lower --replicas, or set "
            f"{PREFIX}DEVICE=cpu."
        )
    return 1


@contextmanager
def _local_cluster(cpus: int, settings: Settings) -> Iterator[int]:
    """A Ray cluster of this machine with Serve on it, and its GPUs; the block's end ends every process of it."""
    import ray
    from ray import serve

    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=settings.log_level == "debug")
    try:
        serve.start(http_options={"host": settings.host, "port": settings.port})
        yield int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _reason() -> str:
    """Why the replicas did not start: the last line of the last error that Ray Serve kept."""
    from ray import serve

    from deploy.ray.application import NAME

    application = serve.status().applications[NAME]
    messages = [application.message, *(found.message for found in application.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else application.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.ray",
        description="Serve with N replicas on this machine. Settings are REPARTEE_* variables, as for `python -m app`.",
        epilog="SIGHUP replaces the replicas one after another, without an interruption.",
    )
    parser.add_argument(
        "--replicas",
        type=Replicas.parse,
        default="2",
        metavar="N|LEAST:MOST",
        help="default: 2; two: autoscaling",
    )
    parser.add_argument(
        "--ongoing",
        type=_positive(float),
        default=16,
        metavar="N",
        help="open requests of one replica that autoscaling aims at; default: 16",
    )
    parser.add_argument(
        "--cpus",
        type=_positive(int),
        metavar="N",
        help="of each replica, and its threads; default: the machine's in equal parts",
    )
    return parser


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not 0 < (value := number(text)) < 1e6:
            raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
