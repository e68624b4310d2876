"""The search finds a known capacity, says when the client is at fault, and goes nowhere uninvited."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.bench.ask import Server
from app.bench.figures import figures
from app.bench.plots import RatePoint
from app.bench.sample import Sample
from app.slos import load_slos
from loadtests import capacity, load, target
from loadtests.capacity import Search, Step
from loadtests.front_end import KINDS, FrontEnd
from tests.sse_server import DONE, Exchange, content, serving, usage

pytestmark = pytest.mark.anyio


class Known(Search):
    """A service that meets its objectives up to `most` a second, asked by a client in time up to `in_time`.

    For longer than `seconds` it does so up to 30 a second, and the client is late `late` times.
    """

    most = 50.0
    in_time = 1e9
    late = 0
    sent: list[tuple[float, float]]

    async def step(self, rate: float, seconds: float) -> Step:
        self.sent.append((rate, seconds))
        longer = seconds > self._lasts(rate)
        first = 0.1 if rate <= (30 if longer else self.most) else 2.0
        samples = [
            Sample("short chat", "chat", rate, number / rate, 0.0, first=first, total=first, per_token=0.01)
            for number in range(100)
        ]
        samples.append(Sample("classify", "decision", rate, 0.0, 0.0, total=0.01))
        void = "void: late" if rate > self.in_time or (longer and self.late) else None
        self.late -= longer and self.late > 0
        return Step(rate, RatePoint(rate, figures(samples, self.slos, 1.0), bool(void)), samples, void)


def known(most: float = 50.0, in_time: float = 1e9) -> Known:
    search = Known(Server("http://127.0.0.1:1/v1"), FrontEnd("m", random.Random(1)), load_slos(), 1, 1)
    search.most, search.in_time, search.sent = most, in_time, []
    return search


def soon() -> float:
    return time.monotonic() + 1000


@pytest.mark.parametrize("first", [4.0, 100.0])
async def test_the_knee_is_found_from_below_and_above(first: float) -> None:
    search = known()
    found = await search.find(first, soon())
    assert found is not None and 50 / 1.09 <= found <= 50
    assert capacity._void_above(found, search.steps) is None


async def test_a_knee_that_does_not_hold_for_longer_is_searched_anew_below() -> None:
    search = known()
    held = await search.hold(await search.find(4.0, soon()), soon())
    assert held is not None and 30 / 1.09 <= held <= 30
    assert [step.holds for step in search.steps if step.rate == held] == [True]


async def test_what_held_for_a_step_alone_is_said_to() -> None:
    search = known()
    found = await search.find(4.0, soon())
    assert await search.hold(found, time.monotonic() + 1) == found
    assert "before it, or another rate, had held" in capacity._conclusion(found, search.steps, search.held)
    assert "had held" not in capacity._conclusion(found, search.steps, found or 0)


@pytest.mark.parametrize(("left", "seconds"), [(1000, 3 * 25), (60, 60)])
async def test_what_is_held_lasts_longer_than_its_step(left: float, seconds: float) -> None:
    """At 4 a second a step of a hundred requests lasts 25 s."""
    search = known()
    assert await search.hold(4.0, time.monotonic() + left) == search.held == 4
    assert [lasts for _, lasts in search.sent] == [pytest.approx(seconds, abs=5)]


@pytest.mark.parametrize(("late", "held"), [(1, 4.0), (2, 3.2)])
async def test_a_void_hold_is_tried_once_more(late: int, held: float) -> None:
    search = known()
    search.late = late
    assert await search.hold(4.0, soon()) is not None
    assert [rate for rate, _ in search.sent[:3]] == [4.0] * 2 + [held] * (late - 1)


async def test_what_was_not_measured_does_not_hold() -> None:
    search = known()
    whole = await search.step(4, 1)
    chats = [sample for sample in whole.samples if sample.task == "chat"]
    for samples in ([], chats):
        step = Step(4, RatePoint(4, figures(samples, search.slos, 1.0)), samples)
        assert whole.holds and not step.holds and step.verdict == "not every objective measured"


async def test_no_rate_holds() -> None:
    search = known()
    assert await search.find(5000.0, soon()) is None
    assert "No rate met" in capacity._conclusion(None, search.steps, 0)


async def test_the_first_rate_is_tried_in_any_case() -> None:
    assert await known().find(4.0, time.monotonic()) == 4


async def test_a_client_that_is_late_is_named_and_not_taken_for_the_server() -> None:
    search = known(in_time=20)
    found = await search.find(4.0, soon())
    assert found is not None and 16 <= found <= 20
    assert "may hold more" in capacity._conclusion(found, search.steps, found)
    tries = [rate for rate, _ in search.sent]
    assert tries.count(32) == 2 and tries.count(16) == 1  # what says nothing is tried once more


async def test_a_void_rate_below_one_that_missed_leaves_a_bound() -> None:
    search = known(in_time=40)
    search.steps = [await search.step(rate, 1) for rate in (32, 45)]
    search.in_time = 1e9
    search.steps.append(await search.step(64, 1))
    assert "but less than 64" in capacity._conclusion(32, search.steps, 32)


async def test_where_every_rate_is_void_none_is_said_to_miss() -> None:
    search = known(in_time=0)
    assert await search.find(4.0, soon()) is None
    assert "No rate was measured" in capacity._conclusion(None, search.steps, 0)


def test_answers_after_a_rate_ended_are_not_of_that_rate() -> None:
    samples = [Sample("short chat", "chat", 4, number / 4, 0.0, first=0.1, total=0.5) for number in range(8)]
    samples.append(Sample("short chat", "chat", 4, 0.0, 0.0, "error"))
    step = Step(4, RatePoint(4, figures(samples, load_slos(), 2.0)), samples)
    assert step.tried.done == 7 / 2


@pytest.mark.parametrize("main", [capacity.main, load.main])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://192.0.2.1:8000", "--anywhere"),
        ("nonsense", "no address"),
        ("http://127.0.0.1:9", "does not answer"),
    ],
)
def test_other_machines_and_what_does_not_answer_are_refused_in_one_line(
    main: Any, url: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", url, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


@pytest.mark.parametrize("main", [capacity.main, load.main])
def test_a_page_that_cannot_be_written_is_known_before_anything_is_sent(
    main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "file" in capsys.readouterr().err


async def test_a_server_that_does_not_say_what_it_serves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.left()

    async def nothing(exchange: Exchange) -> None:
        await exchange.begin(content_type="application/json")
        await exchange.send(b'{"data": []}')
        await exchange.finish()

    def enter(base: str) -> None:
        with target.target(base):
            pass

    monkeypatch.setattr(target, "_ANSWER_SECONDS", 0.2)
    for answer, said in ((silent, "within 0.2 s"), (nothing, "names no model")):
        async with serving(answer) as base:
            with pytest.raises(target.Refused, match=said):
                await asyncio.to_thread(enter, base)


@pytest.mark.parametrize(
    ("wait", "factor", "code", "said"),
    [(0.6, 1, 1, "**No rate met the objectives.**"), (0.0, 100, 0, "met every objective for")],
)
async def test_a_slow_server_misses_and_a_fast_one_does_not(
    wait: float, factor: float, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first text after the objective's 0.5 s, and one at once by objectives that a busy machine meets, too."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        if exchange.path == "/v1/models":
            await exchange.send(b'{"data": [{"id": "m"}]}')
        else:
            await asyncio.sleep(wait)
            await exchange.send(content("word "))
            await asyncio.sleep(0.01)
            await exchange.send(content("word ") + usage(3, 2) + DONE)
        await exchange.finish()

    slos = [
        slo.model_copy(update={"threshold_seconds": slo.threshold_seconds and factor * slo.threshold_seconds})
        for slo in load_slos()
    ]
    monkeypatch.setattr(capacity, "load_slos", lambda: slos)
    options = ["--minutes", "0.05", "--seconds", "0.2", "--from", "200", "--seed", "1", "--most-lag", "60"]
    async with serving(answer) as base:
        found = await asyncio.to_thread(capacity.main, ["--url", base, *options, "--out", str(tmp_path)])
    (page,) = tmp_path.glob("*-capacity.md")
    text = page.read_text()
    assert (found, said in text) == (code, True), text
    assert "MISSED" in text or not code
    assert "- processor: " in text and f"--url {base} --minutes 0.05" in text and str(tmp_path) not in text
    assert "offered/s" in text
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".png", ".html"}


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
