"""What one tenant sent before saves another none of the work: by its time, a guess at the text would be confirmed."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from tests.api.conftest import MODEL, saying
from tests.fakes import FakeEngine
from tests.scoring_engine import ScoringEngine
from tests.toy_tokenizer import toy_directory

pytestmark = pytest.mark.anyio
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "my secret"}], "max_tokens": 2}
REQUESTS = {
    "/v1/chat/completions": CHAT,
    "/tokenize": {"model": MODEL, "messages": CHAT["messages"]},
    "/v1/classify": {"model": MODEL, "input": "my secret", "labels": ["a", "b"]},
}


@pytest.mark.parametrize("path", REQUESTS)
async def test_ids_that_are_kept_are_a_tenants_own(path: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    tenants = {"warm": "warm", "one": "one", "again": "one", "other": "other"}
    digests = {key: hashlib.sha256(key.encode()).hexdigest() for key in tenants}
    entries = [{"id": key, "tenant": tenant, "sha256": digests[key]} for key, tenant in tenants.items()]
    keys.write_text(json.dumps(entries))
    tokenizer = Tokenizer.from_directory(toy_directory())
    settings = Settings(model=str(toy_directory()), model_name=MODEL, api_keys_file=keys)
    engine = ScoringEngine() if path == "/v1/classify" else FakeEngine(script=saying("Hello"))
    app = create_app(settings, engine, load_tokenizer=lambda _: tokenizer)  # type: ignore[arg-type]
    kept = tokenizer._ids_of_piece.cache_info

    async def computed(key: str) -> int:
        before = kept().misses
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
            answer = await client.post(path, json=REQUESTS[path], headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        return kept().misses - before

    await computed("warm")  # what is encoded once for all
    first = await computed("one")
    assert first > 0
    assert await computed("again") == 0
    assert await computed("other") == first
