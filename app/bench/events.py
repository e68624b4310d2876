"""Server-sent events of OpenAI's streams, from this server or another: cut out of bytes, then read."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.bench.http_stream import RequestFailed


class _Delta(msgspec.Struct):
    content: str | None = None
    # What llama-server and vLLM call the thoughts of a reasoning model: tokens that the client sees, too.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None

    @property
    def says(self) -> str:
        """The text that this chunk carries."""
        if self.delta is None:
            return self.text or ""
        return self.delta.content or self.delta.reasoning_content or self.delta.reasoning or ""


class Usage(msgspec.Struct):
    """Token counts as a server gives them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Events:
    """Cuts server-sent events out of pieces that end anywhere; comments are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that `piece` completes."""
        *events, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    yield line[5:].strip()


def read_chunk(data: bytes) -> tuple[str, Usage | None]:
    """Text and usage of one event; an empty text where it carries none, as `[DONE]` does.

    Raises:
        RequestFailed: it is an error, or no chunk.
    """
    if data == b"[DONE]":
        return "", None
    try:
        chunk = _decode(data)
    except msgspec.DecodeError as error:
        shown = " ".join(data[:200].decode(errors="replace").split())
        raise RequestFailed(f"An event is no chunk: {shown}") from error
    if chunk.error is not None:
        raise RequestFailed(f"The stream ended with an error: {chunk.error}")
    return "".join(choice.says for choice in chunk.choices or ()), chunk.usage
