"""Framed msgspec messages over one socketpair: a blocking end for the engine, an asynchronous one for HTTP."""

import asyncio
import logging
import selectors
import socket
import struct
from collections.abc import Callable, Iterator
from typing import cast

import msgspec

from app.engine.messages import FromEngine, ToEngine

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")
_READ_SIZE = 1 << 20
_BUFFER_SIZE = 4 << 20
"""Socket buffer: the engine must not wait for an API process that is busy for a moment."""


def open_socketpair() -> tuple[socket.socket, socket.socket]:
    """(API's end, engine's end); either side's death is an end-of-file for the other."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_SIZE)
    return ends


class _Frames:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes as they came; yield each frame that is whole."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]


def _frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


class BlockingChannel:
    """The engine's end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._frames = _Frames()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ToEngine)
        self._selector = selectors.DefaultSelector()
        self._selector.register(end, selectors.EVENT_READ)

    def send(self, message: FromEngine) -> None:
        """Send one message; waits while the socket's buffer is full.

        Raises:
            BrokenPipeError, ConnectionResetError: the API process is gone.
        """
        self._socket.sendall(_frame(self._encoder.encode(message)))

    def receive(self, wait: bool) -> list[ToEngine] | None:
        """All messages that have arrived; with `wait`, at least one. None when the API process is gone."""
        messages: list[ToEngine] = []
        while self._selector.select(None if wait and not messages else 0):
            data = self._socket.recv(_READ_SIZE)
            if not data:
                return None
            messages.extend(self._decoder.decode(frame) for frame in self._frames.feed(data))
        return messages


class AsyncChannel(asyncio.Protocol):
    """The API's end: calls `on_message` for each message and `on_close` once, both on the event loop.

    What is no message ends the channel: nothing that follows it can be trusted.
    """

    def __init__(self, on_message: Callable[[FromEngine], None], on_close: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._frames = _Frames()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls, end: socket.socket, on_message: Callable[[FromEngine], None], on_close: Callable[[], None]
    ) -> "AsyncChannel":
        """Attach to the API's end of a socketpair."""
        channel = cls(on_message, on_close)
        end.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=end)
        return channel

    def send(self, message: ToEngine) -> None:
        """Queue one message; never waits. After the engine is gone it does nothing: `on_close` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_frame(self._encoder.encode(message)))

    def close(self) -> None:
        """Close our end: the engine sees the end-of-file and stops."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            try:
                message = self._decoder.decode(frame)
            except msgspec.MsgspecError:
                logger.exception("the engine sent what is no message")
                return self.close()
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_close()
