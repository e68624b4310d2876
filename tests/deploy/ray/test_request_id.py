"""One request id an answer, below the middleware that Ray Serve puts inside of ours."""

import httpx
import pytest
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from deploy.ray.request_id import middlewares


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it got as `x-request-id`, between an id of its own and one of the server's."""
    got = MutableHeaders(scope=scope).get("x-request-id", "none")
    headers = [(b"x-request-id", b"ours"), (b"x-got", got.encode()), (b"x-request-id", b"the server's")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.anyio
@pytest.mark.parametrize(("sent", "got"), [({}, ""), ({"x-request-id": "mine"}, "mine")])
async def test_the_first_id_is_kept_and_none_is_made_up(sent: dict[str, str], got: str) -> None:
    (middleware,) = middlewares()
    wrapped = middleware.cls(application, *middleware.args, **middleware.kwargs)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://x") as client:
        answer = await client.get("/", headers=sent)
    assert answer.headers.get_list("x-request-id") == ["ours"]
    assert answer.headers["x-got"] == got


@pytest.mark.anyio
async def test_an_answer_without_an_id_stays_without() -> None:
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    (middleware,) = middlewares()
    await middleware.cls(bare, *middleware.args, **middleware.kwargs)(
        {"type": "http", "headers": []}, receive, send
    )
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["headers"] == []
