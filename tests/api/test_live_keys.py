"""Keys that change while the service runs."""

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import live_keys
from app.api.live_keys import LiveKeys, follow_keys_file
from app.errors import QuotaExceeded
from app.keys import KeyRing, read_keys_file
from app.metrics import Metrics
from tests.api.conftest import build_app
from tests.exposition import value
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio


def entry(key: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": "acme"} | fields


def content(*entries: dict[str, Any]) -> str:
    return json.dumps(entries)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(content(entry("old")))
    return path


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


class Looks:
    """Counts how often the file was looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(live_keys, "read_keys_file", self._read)

    def _read(self, path: Path) -> bytes:
        try:
            return read_keys_file(path)
        finally:
            self.count += 1

    async def more(self) -> None:
        """Wait until what lies there now was seen, several times."""
        enough = self.count + 4
        await until(lambda: self.count >= enough)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (line.levelname, line.getMessage()) for line in caplog.records if line.name == "app.api.live_keys"
    ]


def replace_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def replace_by_another_file(path: Path, text: str) -> None:
    """At no time is it there in part."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def replace_unseen(path: Path, text: str) -> None:
    """Neither the length nor the time stamp tells."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replace_in_place, replace_by_another_file, replace_unseen])
async def test_a_changed_file_takes_effect(
    file: Path, change: Callable[[Path, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys, changes = LiveKeys(KeyRing.load(file)), list[KeyRing]()
    async with follow_keys_file(file, keys, changes.append, interval=0.001):
        change(file, content(entry("new")))
        await until(lambda: keys.ring.find(b"new"))
    assert keys.ring.find(b"old") is None and changes[-1] is keys.ring
    # One that is written in place may be seen while it is empty.
    (line,) = [
        line for line in caplog.records if (line.name, line.levelname) == ("app.api.live_keys", "INFO")
    ]
    assert line.__dict__["fields"] == {"keys": 1, "added": ["new"], "removed": ["old"], "changed": []}


async def test_a_secret_that_kubernetes_swaps_takes_effect(tmp_path: Path) -> None:
    """It never writes the file: `..data`, which the path leads through, becomes a link to another directory."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys.json").write_text(content(entry(f"key{version}")))
    data, path = tmp_path / "..data", tmp_path / "keys.json"
    data.symlink_to("1")
    path.symlink_to("..data/keys.json")
    keys = LiveKeys(KeyRing.load(path))
    async with follow_keys_file(path, keys, interval=0.001):
        (tmp_path / "..data_tmp").symlink_to("2")
        (tmp_path / "..data_tmp").replace(data)
        await until(lambda: keys.ring.find(b"key2"))
    assert keys.ring.find(b"key1") is None


async def test_a_file_that_cannot_be_used_leaves_the_keys_in_force_and_is_told_once(
    file: Path, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys, stale = LiveKeys(KeyRing.load(file)), [False]
    async with follow_keys_file(file, keys, on_stale=stale.append, interval=0.001):
        replace_by_another_file(file, "[{")
        await looks.more()
        file.unlink()
        await looks.more()
        assert stale[-1]
        replace_by_another_file(file, content(entry("old")))  # as it was: nothing to tell
        await looks.more()
        assert not stale[-1]
        file.unlink()
        await looks.more()
        replace_by_another_file(file, content(entry("old")))  # the same that could be used before
        await looks.more()
        assert not stale[-1]
        replace_by_another_file(file, "[]")
        await looks.more()
        assert keys.ring.find(b"old") is not None and stale[-1]
        replace_by_another_file(file, content(entry("old", tenant="other")))
        await until(lambda: keys.ring.entries[0].tenant == "other")
    lines = told(caplog)
    assert [level for level, _ in lines] == ["ERROR", "ERROR", "ERROR", "ERROR", "INFO"]
    assert lines[0][1].startswith("the keys stay as they were: the keys file is malformed: ")
    assert lines[1][1].startswith("the keys stay as they were: cannot read the keys file: No such file")
    assert lines[2] == lines[1]  # it came back
    assert lines[3][1] == "the keys stay as they were: the keys file holds no key"


async def test_a_fault_that_comes_back_is_told_again(
    file: Path, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    keys, good = LiveKeys(KeyRing.load(file)), file.read_text()
    async with follow_keys_file(file, keys, interval=0.001):
        for text in ("[", good, "["):
            replace_by_another_file(file, text)
            await looks.more()
    assert [level for level, _ in told(caplog)] == ["ERROR", "ERROR"]


async def test_the_file_is_followed_no_longer_than_the_service_lives(file: Path) -> None:
    tasks = len(asyncio.all_tasks())
    async with follow_keys_file(file, LiveKeys(KeyRing.load(file)), interval=0.001):
        assert len(asyncio.all_tasks()) == tasks + 1
    assert len(asyncio.all_tasks()) == tasks


def ring(*entries: dict[str, Any]) -> KeyRing:
    return KeyRing.parse(content(*entries).encode())


async def test_what_an_unchanged_key_has_used_survives_a_reload() -> None:
    limits = {"requests_per_second": 0.001, "concurrency": 1, "tokens_per_minute": 100}
    keys = LiveKeys(ring(entry("old", **limits)))
    quota = keys.quota(keys.ring.entries[0])
    quota.admit()
    keys.replace(ring(entry("new"), entry("old", expires="2100-01-01", **limits)))
    assert keys.quota(keys.ring.entries[1]) is quota
    with pytest.raises(QuotaExceeded):  # it is still open
        quota.admit()
    quota.release(500)
    with pytest.raises(QuotaExceeded) as caught:  # and left a debt
        quota.admit()
    assert caught.value.retry_after > 200


async def test_a_new_limit_holds_and_what_is_open_still_counts() -> None:
    keys = LiveKeys(ring(entry("old", concurrency=5, requests_per_second=0.001)))
    quota = keys.quota(keys.ring.entries[0])
    quota.admit()
    with pytest.raises(QuotaExceeded):
        quota.admit()
    keys.replace(ring(entry("old", concurrency=2)))
    quota.admit()
    with pytest.raises(QuotaExceeded):
        quota.admit()


async def test_a_key_that_was_away_begins_anew() -> None:
    keys = LiveKeys(ring(entry("old", concurrency=1)))
    keys.quota(keys.ring.entries[0]).admit()
    keys.replace(ring(entry("new")))
    keys.replace(ring(entry("old", concurrency=1)))
    keys.quota(keys.ring.entries[0]).admit()


async def test_a_key_is_rotated_without_a_restart(file: Path) -> None:
    app = build_app(FakeEngine(), api_keys_file=file)
    transport = httpx.ASGITransport(app)

    async def status(key: str) -> int:
        return (await http.get("/version", headers={"authorization": f"Bearer {key}"})).status_code

    async def becomes(text: str, key: str, expected: int) -> None:
        file.write_text(text)
        async with asyncio.timeout(20):
            while await status(key) != expected:
                await asyncio.sleep(0.05)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as http,
    ):
        assert (await status("old"), await status("new")) == (200, 401)
        await becomes(content(entry("old"), entry("new")), "new", 200)
        assert await status("old") == 200  # two live keys of one tenant
        await becomes(content(entry("new"), entry("guest", tenant="guests")), "old", 401)
        assert (await status("new"), await status("guest")) == (200, 200)
    metrics: Metrics = app.state.services.metrics
    assert value(metrics, "tenant_requests_total", tenant="guests", outcome="ok") == 0
