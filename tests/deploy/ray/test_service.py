"""What a replica says of itself to Ray Serve: it waits for its engine once, and then tells at once."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from app.engine.interface import EngineState
from app.settings import EMBEDDED_MODEL, Settings
from deploy.ray.service import NotReady, Service
from tests.engine.core.tiny_models import tiny_checkpoint

pytestmark = pytest.mark.anyio


def settings(model: Path | str) -> Settings:
    return Settings(model=str(model), device="cpu", threads=1, kv_cache_tokens=512)


async def always(service: Service) -> None:
    """Check until that fails."""
    while True:
        await service.check()
        await asyncio.sleep(0.01)


async def test_the_first_check_waits_and_a_later_one_tells(tmp_path: Path) -> None:
    model = shutil.copytree(tiny_checkpoint("llama"), tmp_path / "model")
    shutil.copy(Path(EMBEDDED_MODEL) / "tokenizer.json", model)
    service = Service(settings(model))
    async with service.app.router.lifespan_context(service.app):
        async with asyncio.timeout(60):
            await service.check()
        engine = service.app.state.services.engine
        await service.check()
        os.kill(engine.process_id, signal.SIGKILL)
        with pytest.raises(NotReady, match="restarting"):
            await always(service)
        async with asyncio.timeout(60):
            while engine.state is not EngineState.READY:
                await asyncio.sleep(0.05)
        await service.check()
    with pytest.raises(NotReady, match="draining"):
        await service.check()


async def test_an_engine_that_never_starts_is_told_with_its_reason(tmp_path: Path) -> None:
    shutil.copy(Path(EMBEDDED_MODEL) / "tokenizer.json", tmp_path)
    service = Service(settings(tmp_path))
    async with service.app.router.lifespan_context(service.app), asyncio.timeout(60):
        with pytest.raises(NotReady, match="Cannot load the model"):
            await service.check()
