"""What a health check sees: GET /livez over one connection, probe after probe, from a process of its own.

A probe is under way nearly all the time, so whatever keeps the service's event loop from turning makes one of them late
by as long, less at most the pause between two. What it cannot see: which of the loop's turns was the long one, since an
answer takes several (a probe is never shorter than the longest of them); and whether the loop was kept busy or the
machine had no processor left for it, or for the prober, which is why a figure stands beside the same one in peace.
"""

import http.client
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

PAUSE_SECONDS = 0.001
_ANSWER_SECONDS = 60.0


class Prober:
    """A process that probes; made by `probing`."""

    def __init__(self, connection: "Connection[None, list[float]]") -> None:
        self._connection = connection

    def take(self) -> list[float]:
        """Seconds of each probe since the last call, that which is under way included.

        Raises:
            RuntimeError: the prober has ended: the service did not answer it.
        """
        try:
            self._connection.send(None)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("the service did not answer its prober") from error


@contextmanager
def probing(port: int) -> Iterator[Prober]:
    """Probe a service on loopback for as long as the context is open."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_probe, args=(port, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        prober = Prober(ours)
        prober.take()  # it has started, and its connection is open
        yield prober
    finally:
        ours.close()
        process.join()


def _probe(port: int, asked: "Connection[list[float], None]") -> None:
    """Probe until the other end is closed."""
    service = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    found = list[float]()
    while True:
        began = time.perf_counter()
        service.request("GET", "/livez")
        answer = service.getresponse()
        answer.read()
        found.append(time.perf_counter() - began)
        if answer.status != 200:
            return
        if asked.poll(PAUSE_SECONDS):
            try:
                asked.recv()
            except EOFError:
                return
            asked.send(found)
            found = []
