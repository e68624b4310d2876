"""Readers that do not read: their connections are cut off, for a close would wait for them for ever."""

import asyncio


class StallWatch:
    """Aborts a transport where nothing of what is written leaves within a time.

    Args:
        seconds: the time, counted anew whenever something has left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
        self._loop = loop
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on."""
        self.stop()
        waiting = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._seconds, self._look, waiting)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, waiting: int) -> None:
        if self._transport.get_write_buffer_size() < waiting:
            self.start()
        else:
            self._transport.abort()
