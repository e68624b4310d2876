"""Idle connections and open streams: opened, kept and counted against a real server; what was promised."""

import asyncio

import pytest

from loadtests.reliability import idle_connections
from loadtests.reliability.connections import Figures, Load, report, verdicts
from loadtests.reliability.idle_connections import IdleConnections


@pytest.mark.anyio
async def test_connections_are_opened_served_kept_and_missed_when_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        writers.append(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            asked += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    monkeypatch.setattr(idle_connections, "REST_SECONDS", 0.05)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connections = IdleConnections(server.sockets[0].getsockname()[1])
        await asyncio.wait_for(connections.keep(), 5)  # of none there is nothing to do
        await connections.open(20)
        assert (connections.alive, asked) == (20, 20)
        keeper = asyncio.create_task(connections.keep())
        while asked < 60:
            await asyncio.sleep(0.01)
        writers[0].close()
        while connections.alive > 19:
            await asyncio.sleep(0.01)
        keeper.cancel()
        await asyncio.wait([keeper])
        connections.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*[writer.wait_closed() for writer in writers], return_exceptions=True)


def figures(*, grown: float, probe: float, idle: int, failed: list[str]) -> Figures:
    load = Load(
        idle=idle, whole=2, failed=failed, probes=[probe] * 9, gaps=[0.01], memory=[(100 + grown, 50)]
    )
    return Figures(10, before=(100.0, 50.0), alone=Load(memory=[(101, 51)]), beside=load)


def test_what_was_promised_is_kept_or_not() -> None:
    kept = figures(grown=149, probe=0.049, idle=10, failed=[])
    assert [gate.verdict for gate in verdicts(kept)] == ["pass"] * 4
    missed = figures(grown=151, probe=0.051, idle=9, failed=["cut"])
    assert [gate.verdict for gate in verdicts(missed)] == ["FAIL"] * 4
    page = report(missed, "python -m loadtests.reliability.connections --idle 10", 5)
    assert "--idle 10" in page and "Failed: cut" in page
