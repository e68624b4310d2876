"""A probe that looks at `/readyz` all the time, from a thread of its own, as a load balancer would."""

import http.client
import threading
import time

from loadtests.reliability.chaos.history import Probe

INTERVAL_SECONDS = 0.02
_TIMEOUT_SECONDS = 5.0


class ReadinessProbe:
    """Looks every 20 ms until it is stopped.

    Attributes:
        seen: in the order of their answers.
    """

    def __init__(self, port: int) -> None:
        self.seen: list[Probe] = []
        self._port = port
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """What the last answer said."""
        return bool(self.seen and self.seen[-1].ready)

    @property
    def last_sent(self) -> float:
        """When the last one that was answered left."""
        return self.seen[-1].sent if self.seen else 0.0

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)

    def _run(self) -> None:
        connection = self._connection()
        while not self._stopped.wait(INTERVAL_SECONDS):
            sent, ready = time.monotonic(), None
            try:
                connection.request("GET", "/readyz")
                response = connection.getresponse()
                response.read()
                ready = response.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = self._connection()
            self.seen.append(Probe(sent, time.monotonic(), ready))
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
