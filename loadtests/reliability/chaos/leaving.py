"""Clients that leave, in each stage of a request."""

import asyncio
import socket
import time
from typing import Any, Literal, get_args

import msgspec

LONG = 1500
_LAST_CHUNK = b"0\r\n\r\n"
_REST_SECONDS = 3.0
_FIRST_SECONDS = 5.0


def _chat(model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me all about returns."}],
        "max_tokens": LONG,
        "ignore_eos": True,
        "stream": stream,
    }


def _decision(model: str) -> tuple[str, dict[str, Any]]:
    labels = ["refund", "delivery", "account", "order", "payment"]
    return "/v1/classify", {"model": model, "input": ["My coat is late. " * 60] * 8, "labels": labels}


Stage = Literal["body", "first token", "mid-stream", "whole call", "pipelined", "decision"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""Where a client leaves; with every place taken, one that waits for its first token is queued.

One that pipelines has sent another request by then, which waits for the answer to the first.
"""


async def leave(port: int, key: str, model: str, stage: Stage, patience: float = 0.02) -> float:
    """Send a request and close the connection in a stage of it; the instant of that on `time.monotonic`.

    Args:
        patience: seconds from sending to leaving, where no byte tells when.

    Raises:
        OSError: there is no connection.
    """
    path, body = {
        "whole call": lambda: _chat(model, stream=False),
        "pipelined": lambda: _chat(model, stream=False),
        "decision": lambda: _decision(model),
    }.get(stage, lambda: _chat(model, stream=True))()
    request = _request(path, msgspec.json.encode(body), key)
    if stage == "pipelined":
        request = 2 * _request(path, msgspec.json.encode(body), key, "keep-alive")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request[:-20] if stage == "body" else request)
        if stage == "mid-stream":
            async with asyncio.timeout(_FIRST_SECONDS):
                await reader.readuntil(b'"content":"')
        await asyncio.sleep(patience)
    except (asyncio.IncompleteReadError, TimeoutError):
        pass  # it was refused, or nobody answers
    finally:
        left = time.monotonic()
        writer.transport.abort()
    return left


async def read_nothing(port: int, key: str, model: str, seconds: float) -> bool:
    """Ask for more than the connection holds, read nothing for so long; whether the server cut it off by then.

    What the kernel still holds is read before the connection's end is seen: the answer has none of its own then.

    Raises:
        OSError: there is no connection.
    """
    path, body = _chat(model, stream=True)
    body |= {"n": 4, "logprobs": True, "top_logprobs": 20}
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, _request(path, msgspec.json.encode(body), key))
        await asyncio.sleep(seconds)
        tail = b""
        try:
            async with asyncio.timeout(_REST_SECONDS):
                while piece := await loop.sock_recv(client, 1 << 20):
                    tail = (tail + piece)[-len(_LAST_CHUNK) :]
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
    return tail != _LAST_CHUNK


def _request(path: str, content: bytes, key: str, connection: str = "close") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {connection}\r\n"
        f"Authorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
