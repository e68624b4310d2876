"""Work beside the loop: as much as may wait does, and the next is refused."""

import asyncio
import threading

import pytest

from app.errors import Overloaded
from app.services.aside import Aside

pytestmark = pytest.mark.anyio


async def test_what_is_one_too_many_is_refused_until_some_is_done() -> None:
    work, go_on = Aside("test", most=2), threading.Event()
    first, left = (asyncio.create_task(work(go_on.wait)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await work(go_on.wait)
    left.cancel()
    await asyncio.sleep(0.01)
    other = asyncio.create_task(work(int, "7"))
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(first, other) == [True, 7]


async def test_an_error_gives_the_place_back() -> None:
    work = Aside("test", most=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="no number"):
            await work(int, "no number")
