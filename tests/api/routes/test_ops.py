import asyncio
import threading

import pytest
import uvicorn

from app.api.security import OPEN_PATHS
from app.engine.interface import EngineState
from tests.api.edge import RecordingMetrics, build, client
from tests.scoring_engine import READY, ScoringEngine

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("state", "progress", "status"),
    [
        (EngineState.READY, True, "ready"),
        (EngineState.READY, False, "stuck"),
        (EngineState.STARTING, True, "starting"),
        (EngineState.RESTARTING, True, "restarting"),
        (EngineState.LEAVING, True, "leaving"),
        (EngineState.DRAINING, True, "draining"),
        (EngineState.FAILED, True, "failed"),
    ],
)
@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_ready_means_progress(state: EngineState, progress: bool, status: str, path: str) -> None:
    engine = ScoringEngine()
    engine.state, engine.making_progress = state, progress
    async with client(build(engine, RecordingMetrics())) as http:
        answer = await http.get(path)
        alive = await http.get("/livez")
    assert answer.json() == {"status": status}
    assert answer.status_code == (200 if status == "ready" else 503)
    assert ("retry-after" in answer.headers) == (status != "ready")
    assert alive.status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_probes_may_ask_with_head(path: str) -> None:
    """Through the server itself, whose part it is to send no body."""
    config = uvicorn.Config(
        build(ScoringEngine(), RecordingMetrics()), port=0, http="httptools", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    writer.write(f"HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    server.should_exit = True
    await serving
    assert head.startswith(b"HTTP/1.1 200") and b"content-length: " in head
    assert body == b""


async def test_started_is_for_good() -> None:
    engine = ScoringEngine()
    async with client(build(engine, RecordingMetrics())) as http:
        engine.state, engine.info = EngineState.STARTING, None
        assert (await http.get("/startupz")).status_code == 503
        engine.state, engine.info = EngineState.RESTARTING, READY
        assert (await http.get("/startupz")).status_code == 200


async def test_metrics_are_rendered_off_the_event_loop() -> None:
    threads: list[int] = []

    class Watching(RecordingMetrics):
        def render(self, accept: str | None) -> tuple[bytes, str]:
            threads.append(threading.get_ident())
            return super().render(accept)

    async with client(build(ScoringEngine(), Watching())) as http:
        answer = await http.get("/metrics")
        other = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'repartee_requests_total{model="toy"' in answer.text
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    assert len(threads) == 2 and threading.get_ident() not in threads


async def test_version_tells_what_runs() -> None:
    engine = ScoringEngine()
    async with client(build(engine, RecordingMetrics())) as http:
        known = (await http.get("/version")).json()
        engine.info = None
        unknown = (await http.get("/version")).json()
    assert (known["model"], known["quantization"], known["device"]) == ("toy", "none", "cpu")
    assert (unknown["model"], unknown["device"]) == ("toy", None)
