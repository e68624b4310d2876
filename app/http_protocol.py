"""The HTTP/1.1 connection: uvicorn's, stricter about framing and bounded in size and time, with our error bodies."""

import asyncio
from functools import partial
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.datastructures import Headers
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.error_handlers import render_error
from app.api.middleware import log_refused_head, new_request_id
from app.api.sse import ABORT
from app.errors import HeadersTimeout, HeadersTooLarge, MalformedHttp, Overloaded, ReparteeError, UrlTooLong
from app.http_framing import head_bytes, head_without_offer, is_endless, is_well_framed
from app.metrics import Metrics
from app.settings import Settings
from app.stall_watch import StallWatch

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_FULL_RETRY_SECONDS = 2.0
_AHEAD_BYTES = 1024 * 1024
"""What may come of requests whose turn it is not yet, until none of them waits."""
_ASK_SECONDS = 0.01
_MOST_ASK_SECONDS = 0.05
"""After the first a client that has ended its side is asked whether it is there, and as long after that again; each
next wait is twice as long, up to the other. One that has left is noticed at the second asking where the network is
fast, and else at the first after it said so.
"""
_LAST_REQUEST_SECONDS = 0.1
"""At the end of the service what is on its way is still answered; uvicorn looks again after so long in any case."""
_ASKED = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Refused(Exception):
    """Ends the parser's work on a connection; the reason is kept in the protocol."""


class StrictProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it leaves open.

    A head must be whole in time and within bounds, have one `Host`, and leave no doubt where the body ends: two
    parsers that disagree about that are how requests are smuggled past a proxy. What is refused gets OpenAI's error
    body and the end of the connection; where an answer is still being written, the end alone, since a client would take
    the error for a part of it. An application may also end the connection without waiting for its client to read.

    A client may end its own side and still read: it is answered. One that has left looks the same until something is
    written to it, so it is sent what obliges it to nothing until its answer begins. The offer to go on with another
    protocol is not taken up.

    Requests that come ahead of an answer wait for it, in bounds, while the connection is read on: uvicorn would stop
    reading, and so not notice that the client left, nor tell it to the request that runs.
    """

    def __init__(
        self, *arguments: Any, metrics: Metrics, settings: Settings, most_connections: int, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._metrics = metrics
        self._limits = settings
        self._most_connections = most_connections
        self._refusal: ReparteeError = MalformedHttp()
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = False
        self._received = self._body_bytes = 0
        """Bytes since the head began, or since it ended; and those of them that are the body."""
        self._read_bytes = self._read_before = 0
        """Of the read that is parsed; and the most of them that may belong to requests that ended in it."""
        self._parts: list[bytes] = []
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the last that came."""
        self._ahead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is closed, and one too many is refused.

        Where descriptors run out, no metric or key can be read, and no engine be started.
        """
        super().connection_made(transport)
        self._stall = StallWatch(self.loop, transport, self._limits.write_stall_seconds)
        if len(self.connections) > self._most_connections:
            return self._refuse(Overloaded(_FULL_RETRY_SECONDS))
        self._timer = self.loop.call_later(self._limits.header_seconds, self._on_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives the connection, and no request its client."""
        self._stop_timer()
        self._stall.stop()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; the parser keeps an unfinished header field to itself, so bytes are counted here too.

        An idle connection stays idle until a request begins: by uvicorn's way any byte ends the wait for one, such as a
        line end, or more of a body whose answer is written, and then nothing would ever end the connection.
        """
        if self.parser is None or self.transport.is_closing():
            return
        self._read_bytes, self._read_before = len(data), 0
        try:
            self._parse(memoryview(data))
        except HttpParserError:
            return self._refuse(self._refusal)
        self._hand_on_body()
        if self.transport.is_closing():
            return
        self._received += len(data)
        if self._in_head and self._received > self._limits.max_url_bytes + self._limits.max_header_bytes:
            self._refuse(HeadersTooLarge())
        elif self._in_body and is_endless(self._received, self._body_bytes):
            self._refuse(MalformedHttp())
        elif self.pipeline:
            self._read_on(len(data))

    def _read_on(self, more: int) -> None:
        """Go on reading while requests wait; where too much has come, answer the one that runs, and no other."""
        self.flow.resume_reading()
        self._ahead += more
        if self._ahead > _AHEAD_BYTES and self._running is not None:
            self._stop_timer()
            self._in_head = self._in_body = False
            self.pipeline.clear()
            self.cycle, self.parser = self._running, None  # type: ignore[assignment]  # what comes now is dropped
            self.cycle.keep_alive = False

    def _parse(self, data: memoryview) -> None:
        """Feed the parser; uvicorn would log a line or two of its own for much of what strangers send.

        Where another protocol is offered, the parser takes what follows the head for that protocol, and then for
        another request, even if it is a body. So it gets the head again, without the offer.
        """
        while True:
            try:
                return self.parser.feed_data(data)
            except HttpParserUpgrade as offer:
                head = head_without_offer(self.parser, self.url, self.headers)
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(head)
                data = data[offer.args[0] :]

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays: for a whole request, until its answer is.

        A client of HTTP/1.0 cannot be asked whether it is there, and counts as gone.
        """
        if (
            self.cycle is None
            or self.cycle.response_complete
            or self._in_head
            or self._in_body
            or self.cycle.scope["http_version"] == "1.0"
        ):
            return False
        self.cycle.keep_alive = False
        self._timer = self.loop.call_later(_ASK_SECONDS, self._ask, _ASK_SECONDS)
        return True

    def _ask(self, seconds: float) -> None:
        """Write until the last answer begins: of two writes to nobody the second fails, which ends the connection."""
        if self.transport.is_closing() or self.cycle is None or self.cycle.response_started:
            return
        if (
            self._running is not None and not self._running.response_started
        ):  # or it would come into an answer
            self.transport.write(_ASKED)
        self._timer = self.loop.call_later(seconds, self._ask, min(2 * seconds, _MOST_ASK_SECONDS))

    def on_message_begin(self) -> None:
        """Offer the transport's `abort` to the application: `close` would wait for the written bytes to leave."""
        super().on_message_begin()
        self.scope.setdefault("extensions", {})[ABORT] = {"abort": self.transport.abort}
        self._in_head, self._received = True, -self._read_before
        self._unset_keepalive_if_required()
        self._stop_timer()
        self._timer = self.loop.call_later(self._limits.header_seconds, self._on_slow_head)

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        super().on_url(url)
        if len(self.url) > self._limits.max_url_bytes:
            self._stop(UrlTooLong())

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header field."""
        super().on_header(name, value)
        if len(self.headers) > self._limits.max_header_fields:
            self._stop(HeadersTooLarge())

    def on_headers_complete(self) -> None:
        """The head is whole: serve the request if it is well-formed."""
        self._in_head, self._in_body, self._received, self._body_bytes = False, True, 0, 0
        self._unset_keepalive_if_required()  # the answer to the request before this may have ended meanwhile
        self._stop_timer()
        if head_bytes(self.headers) > self._limits.max_header_bytes:
            self._stop(HeadersTooLarge())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(MalformedHttp())
            return  # it comes again
        if not is_well_framed(self.parser, self.headers):
            self._stop(MalformedHttp())
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """One part of the body; a single read may hold tens of thousands of them."""
        self._body_bytes += len(body)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
        self._hand_on_body()
        self._in_body, self._read_before = False, self._read_bytes
        super().on_message_complete()
        self._forget_answered()

    def _hand_on_body(self) -> None:
        """Give uvicorn the parts as one: it would copy all that it has for each of them."""
        if self._parts:
            body = b"".join(self._parts)
            self._parts.clear()
            super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """It is a request's turn."""
        self._running = cycle
        if not self.pipeline:
            self._ahead = 0
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The answer is whole; its request may not be, where it was refused before its body."""
        self._running = None
        super().on_response_complete()
        self._forget_answered()
        if self.transport.is_closing():
            self._stall.start()

    def pause_writing(self) -> None:
        """Much waits for the client to read."""
        super().pause_writing()
        self._stall.start()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stall.stop()

    def shutdown(self) -> None:
        """The service ends: a connection without a request stays a little, for one that is on its way."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._end_unless_asked)
        else:
            super().shutdown()

    def _end_unless_asked(self, *, again: bool = True) -> None:
        if not (self.cycle is None or self.cycle.response_complete):
            self.end_after_answer()
        elif self._in_head and again:  # but nobody sends one for ever
            self.loop.call_later(_LAST_REQUEST_SECONDS, partial(self._end_unless_asked, again=False))
        else:
            self.transport.close()

    def end_after_answer(self) -> None:
        """Keep the connection no longer than the answer under way takes, if there is one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """No request came for a while."""
        super().timeout_keep_alive_handler()
        self._stall.start()

    def _forget_answered(self) -> None:
        """Keep nothing of a request that is done with: it is most of what an idle connection would hold in memory."""
        if self._in_body or self.cycle is None or not self.cycle.response_complete:
            return
        self.cycle = None  # type: ignore[assignment]
        if not self._in_head:
            self.scope, self.headers, self.url = {}, [], b""  # type: ignore[typeddict-item]

    def _stop(self, error: ReparteeError) -> None:
        self._refusal = error
        raise _Refused

    def _refuse(self, error: ReparteeError) -> None:
        self._in_head = False
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        identifier = new_request_id()
        status, headers, body = render_error(error, identifier)
        self._metrics.http("unmatched", "other", status)
        log_refused_head(identifier, status, error)
        headers |= {"x-request-id": identifier, "content-length": str(len(body)), "connection": "close"}
        fields = Headers(headers).raw
        lines = [
            f"HTTP/1.1 {status} {_REASONS[status]}".encode(),
            *(name + b": " + value for name, value in fields),
        ]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()
        self._stall.start()

    def _on_silence(self) -> None:
        self.transport.close()

    def _on_slow_head(self) -> None:
        self._refuse(HeadersTimeout())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
