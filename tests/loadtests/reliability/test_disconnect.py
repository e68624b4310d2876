"""The bench of clients that leave: it sees a leak and a delay, and a short run finds neither."""

import asyncio
import re

import pytest

from loadtests.reliability import disconnect
from loadtests.reliability.disconnect import Left, Watch, is_met, main, render


def became(told: bytes, left: float = 10.0) -> Left:
    """What a watch makes of what a service tells, in pieces that end anywhere."""

    async def fed() -> Left:
        watch = Watch()
        for start in range(0, len(told), 7):
            watch.feed(told[start : start + 7])
        return await watch.wait(left)

    return asyncio.run(fed())


def test_the_last_sequence_to_be_given_back_counts_and_strangers_do_not() -> None:
    told = (
        b"9.0 + 3 good\n9.1 + 4 leavers\n9.1 + 5 leavers\n10.02 - 5 0.01\n10.03 . leavers cancelled\n"
        b"10.04 - 4 0.02\n"
    )
    assert became(told) == Left(pytest.approx(0.04), 0.02, sequences=2)


def test_one_left_within_its_body_has_none() -> None:
    assert became(b"10.02 . leavers cancelled\n") == Left(pytest.approx(0.02), 0.0, sequences=0)


@pytest.mark.parametrize(
    "told", [b"9.1 + 4 leavers\n10.03 . leavers cancelled\n", b"9.1 + 4 leavers\n10.03 - 4 0.01\n", b""]
)
def test_a_leak_is_seen(told: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disconnect, "_LEAK_SECONDS", 0.01)
    assert became(told).seconds is None


@pytest.mark.parametrize(
    ("late", "held", "met"),
    [
        ([], {}, True),
        ([Left(0.3, step=0.29)], {}, True),
        ([Left(0.3, step=0.1)], {}, True),
        ([Left(0.3, step=0.1)] * 2, {}, False),
        ([Left(None)], {}, False),
        ([], {"repartee_running_requests": 1.0}, False),
    ],
)
def test_the_bar(late: list[Left], held: dict[str, float], met: bool) -> None:
    """Of a hundred one may be late; none may stay, nor anything that it held."""
    found = {"in mid-stream": [Left(0.05)] * (100 - len(late)) + late}
    assert is_met(found, held) is met
    assert f"no leak: **{'met' if met else 'MISSED'}**" in render(found, held, {}, "command")


def test_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--clients", "14", "--seed", "1"])
    page = capsys.readouterr().out
    assert code in (0, disconnect.EXIT_MISSED), page  # a busy machine is late, and leaks nothing
    assert "Leaks among 14 clients: 0; held when idle: nothing." in page
    assert len(re.findall(r"(?m)^\| [a-z -]+ +\| +2 \|", page)) == 7
