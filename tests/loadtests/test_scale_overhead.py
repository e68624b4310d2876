"""The overhead of scaling: both ways are asked in turns, and the table says whether the bound holds."""

import pytest

from loadtests import scale_overhead
from loadtests.http_stream import RequestFailed
from loadtests.scale_overhead import Comparison, Plan, Samples, compare, render
from tests.loadtests.sse_server import Exchange, content, serving, usage

PLAN = Plan(rounds=3, requests=2, streams=1, tokens=8)


def samples(tokenize: float, decision: float) -> Samples:
    """Milliseconds that hardly vary."""
    found = Samples([tokenize] * 9, [decision] * 9, [5.0] * 9, [1.0] * 9)
    found.tokenize[-1] *= 100
    return found


@pytest.mark.parametrize(
    ("tokenize", "decision", "verdict"), [(2.0, 3.9, "passed"), (2.0, 4.1, "missed"), (3.1, 2.0, "missed")]
)
def test_the_worse_of_the_small_requests_is_judged(tokenize: float, decision: float, verdict: str) -> None:
    found = Comparison(2, samples(1.0, 2.0), samples(tokenize, decision))
    report = render([found], {"cores": "2"}, "command", PLAN)
    assert report.rstrip().splitlines()[-1].endswith(f"| at most +2 ms | {verdict} |")
    assert f"| tokenize p50 | 1 | {tokenize:.3g} | {tokenize - 1:.3g} |" in report


@pytest.mark.anyio
async def test_both_are_asked_in_turns() -> None:
    asked: list[str] = []

    async def answer(exchange: Exchange, name: str) -> None:
        asked.append(name)
        if exchange.body.get("stream"):
            await exchange.begin()
            for word in ("a", "b", "c"):
                await exchange.send(content(word))
            await exchange.send(usage(1, 3))
        else:
            await exchange.begin(content_type="application/json")
            await exchange.send(b"{}")
        await exchange.finish()

    async with (
        serving(lambda exchange: answer(exchange, "direct")) as direct,
        serving(lambda exchange: answer(exchange, "ray")) as behind,
    ):
        found = await compare(1, direct, behind, PLAN)
    order = [name for name, before in zip(asked, ["", *asked], strict=False) if name != before]
    assert order == ["direct", "ray", "direct", "ray", "direct"]  # each begins every other round
    for each in (found.direct, found.behind):
        assert len(each.tokenize) == len(each.decision) == 6
        assert len(each.first_token) == 3 and len(each.between_tokens) <= 6


@pytest.mark.anyio
async def test_a_refusal_ends_it() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.begin("503 Overloaded", content_type="application/json")
        await exchange.send(b"{}")
        await exchange.finish()

    async with serving(refuse) as base:
        with pytest.raises(RequestFailed, match="503"):
            await compare(1, base, base, PLAN)


def test_a_service_that_does_not_start_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPARTEE_MODEL", "/nowhere/here")
    assert scale_overhead.main([]) == 2
    message = capsys.readouterr().err
    assert "not measured" in message and "/nowhere/here" in message


@pytest.mark.parametrize("arguments", [["--rounds", "1"], ["--requests", "x"], ["--tokens", "-3"]])
def test_too_little_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        scale_overhead.main(arguments)
