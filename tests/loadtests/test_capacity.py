"""The search finds a known capacity, says when the client is at fault, and goes nowhere uninvited."""

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from app.bench.ask import Server
from app.bench.figures import figures
from app.bench.plots import RatePoint
from app.bench.sample import Sample
from app.slos import load_slos
from loadtests import capacity, load
from loadtests.capacity import Search, Step
from loadtests.front_end import KINDS, FrontEnd

pytestmark = pytest.mark.anyio


class Known(Search):
    """A service that meets its objectives up to 50 a second, asked by a client in time up to `in_time`."""

    in_time = 1e9

    async def step(self, rate: float) -> Step:
        first = 0.1 if rate <= 50 else 2.0
        samples = [
            Sample("short chat", "chat", rate, number / rate, 0.0, first=first) for number in range(100)
        ]
        void = "void: late" if rate > self.in_time else None
        return Step(rate, RatePoint(rate, figures(samples, self.slos, 1.0), bool(void)), samples, void)


def known(in_time: float = 1e9) -> Known:
    search = Known(Server("http://127.0.0.1:1/v1"), FrontEnd("m", random.Random(1)), load_slos(), 1, 1)
    search.in_time = in_time
    return search


@pytest.mark.parametrize("first", [4.0, 100.0])
async def test_the_knee_is_found_from_below_and_above(first: float) -> None:
    search = known()
    found = await search.find(first, time.monotonic() + 1000)
    assert found is not None and 50 / 1.09 <= found <= 50
    assert capacity._void_above(found, search.steps) is None


async def test_no_rate_holds() -> None:
    assert await known().find(5000.0, time.monotonic() + 1000) is None


async def test_a_client_that_is_late_is_named_and_not_taken_for_the_server() -> None:
    search = known(in_time=20)
    found = await search.find(4.0, time.monotonic() + 1000)
    assert found is not None and 16 <= found <= 20
    assert "may hold more" in capacity._conclusion(found, search.steps)[0]


@pytest.mark.parametrize("main", [capacity.main, load.main])
@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "nonsense"])
def test_other_machines_are_refused_without_a_word_of_consent(
    main: Any, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", url]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_conversations_go_on_with_the_answers_and_share_their_beginning() -> None:
    front_end = FrontEnd("m", random.Random(1))
    seen: list[Sequence[Any]] = []
    for _ in range(5):
        ask = front_end.ask("conversation")
        seen.append(list(ask.body["messages"]))
        ask.answered("answer")
    assert [len(messages) for messages in seen] == [2, 4, 6, 8, 2]
    assert seen[1][:2] == seen[0] and seen[4][0] == seen[0][0]


def test_the_mix_has_every_kind() -> None:
    front_end = FrontEnd("m", random.Random(1))
    assert {front_end.next_ask().kind for _ in range(500)} == set(KINDS)
