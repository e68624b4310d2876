"""Clients that end their own side after a whole request, as some one-line tools do, and wait for the answer."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.service.running_service import MODEL, Service

ASKED = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("stream", [False, True])
def test_who_ends_its_side_gets_the_whole_answer(service: Service, stream: bool) -> None:
    question = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
        "stream": stream,
        "ignore_eos": True,
        "max_tokens": 300,
    }
    body = json.dumps(question).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    address = urlsplit(service.url)
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answer += piece
    top, _, said = answer.replace(ASKED, b"").partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200 OK")
    if stream:
        assert said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and said.count(b'"delta"') > 2
    else:
        assert json.loads(said)["usage"]["completion_tokens"] == 300
