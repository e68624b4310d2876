"""Dependencies of routes: none of them costs a request a thread."""

import anyio.to_thread
import httpx
import pytest

from tests.api.conftest import MODEL

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/classify", {"input": "Hi", "labels": ["a", "b"]}),
        ("/tokenize", {"prompt": "Hi"}),
    ],
)
async def test_a_small_request_stays_on_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object]
) -> None:
    hops: list[object] = []

    async def hop(work: object, *_: object, **__: object) -> None:
        hops.append(work)
        raise RuntimeError

    monkeypatch.setattr(anyio.to_thread, "run_sync", hop)
    await client.post(path, json=body | ({} if path == "/tokenize" else {"model": MODEL}))
    assert hops == []
