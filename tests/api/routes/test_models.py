"""What is served."""

import httpx
import pytest

from app.engine.interface import EngineState
from tests.api.conftest import MODEL, build_app
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio


async def test_the_served_model(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/v1/models")).json()["data"]
    assert (model["id"], model["object"], model["max_model_len"]) == (MODEL, "model", 256)
    assert (await client.get(f"/v1/models/{MODEL}")).json() == model


@pytest.mark.parametrize("name", ["other", "toy/toy", "../toy", "%2e%2e%2ftoy"])
async def test_other_models_are_not_here(client: httpx.AsyncClient, name: str) -> None:
    response = await client.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] in ("model_not_found", "unknown_url")


async def test_models_are_listed_while_the_engine_starts() -> None:
    app = build_app(FakeEngine(state=EngineState.STARTING))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
    assert model["max_model_len"] is None
