"""The keys in force, with what each may still use: the keys file as it is now, or as it last could be used."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from app.api.quotas import Quota
from app.keys import InvalidKeysFile, KeyEntry, KeyRing, read_keys_file

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the keys file."""


class LiveKeys:
    """Owns which keys are known and what each has used, which outlives a change of the file."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self._quotas = {entry.id: Quota(entry) for entry in ring.entries}

    def quota(self, entry: KeyEntry) -> Quota:
        """The use of a key that was just found."""
        return self._quotas[entry.id]

    def replace(self, ring: KeyRing) -> None:
        """Let other keys hold for all requests from now on; those that were admitted go on.

        What a key has used goes with its id.
        """
        before, self._quotas, self.ring = self._quotas, {}, ring
        for entry in ring.entries:
            quota = self._quotas[entry.id] = before.get(entry.id) or Quota(entry)
            quota.limit(entry)


@contextlib.asynccontextmanager
async def follow_keys_file(
    path: Path,
    keys: LiveKeys,
    on_change: Callable[[KeyRing], None] = lambda ring: None,
    on_stale: Callable[[bool], None] = lambda stale: None,
    interval: float = LOOK_SECONDS,
) -> AsyncIterator[None]:
    """Look at the keys file every `interval` seconds for as long as the context is open.

    Its bytes are compared: a time stamp may stay as it was, and a link in the path may lead elsewhere. Of a file that
    cannot be used one line tells, and the keys stay as they are.

    Args:
        on_change: gets the keys that hold from now on.
        on_stale: is told whether the keys in force are older than the file, which cannot be used.
    """
    task = asyncio.create_task(_follow(path, keys, on_change, on_stale, interval), name="keys file")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _follow(
    path: Path,
    keys: LiveKeys,
    on_change: Callable[[KeyRing], None],
    on_stale: Callable[[bool], None],
    interval: float,
) -> None:
    seen: bytes | None = None
    told = ""
    while True:
        await asyncio.sleep(interval)
        last, seen = seen, None
        try:
            seen = await asyncio.to_thread(read_keys_file, path)
            if seen == last:
                continue
            ring = KeyRing.parse(seen)
        except InvalidKeysFile as error:
            if str(error) != told:
                logger.error("the keys stay as they were: %s", error)
            told = str(error)
            on_stale(True)
            continue
        told = ""
        on_stale(False)
        if ring.entries != keys.ring.entries:
            _tell(keys.ring, ring)
            keys.replace(ring)
            on_change(ring)


def _tell(before: KeyRing, after: KeyRing) -> None:
    old, new = ({entry.id: entry for entry in ring.entries} for ring in (before, after))
    fields = {
        "keys": len(new),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
    logger.info("other keys are in force", extra={"fields": fields})
