"""The soak: what it reads of a service comes back, and a quantity that does not is named."""

from contextlib import nullcontext

import pytest

from loadtests.reliability import soak
from loadtests.reliability.soak import Soak, main, render


def read(**grows: list[float]) -> Soak:
    """Readings that stay where they are, but for these."""
    found = Soak()
    for name, values in found.readings.items():
        values += grows.get(name.replace(" ", "_"), [20.0] * 6)
    return found


def test_a_quantity_that_grows_is_named() -> None:
    assert read().leaks == {}
    found = read(API_descriptors=[20.0, 21, 22, 23, 24, 25], engine_RSS_MiB=[400.0, 420, 440, 460, 480, 500])
    assert set(found.leaks) == {"API descriptors", "engine RSS MiB"}
    page = render(found, {"cores": "2"}, "python -m loadtests.reliability.soak")
    assert "**Leaks: engine RSS MiB, API descriptors.**" in page


@pytest.mark.parametrize("name", list(Soak().readings))
def test_every_quantity_is_judged(name: str) -> None:
    found = read(**{name.replace(" ", "_"): [20.0 * 2**number for number in range(8)]})
    assert list(found.leaks) == [name]


def test_what_failed_is_counted_and_what_left_is_not() -> None:
    found = read()
    found.fates.update({("decision", "lost"): 1, ("decision", "failed"): 2, ("leaves", "cancelled"): 5})
    assert found.lost == 3
    assert "| decision " in render(found, {}, "command")


@pytest.mark.parametrize(("refused", "code"), [(1, 0), (2, soak.EXIT_LEAK)])
def test_a_load_that_was_refused_shows_nothing(
    refused: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a hundred; nonsense is refused as it should be."""
    found = read()
    found.fates.update({("decision", "completed"): 100 - refused, ("decision", "refused"): refused})
    found.fates.update({("nonsense", "refused"): 50, ("unknown path", "refused"): 50})

    async def soaked(*_: object) -> Soak:
        return found

    monkeypatch.setattr(soak, "subject", lambda **_: nullcontext())
    monkeypatch.setattr(soak, "soaked", soaked)
    assert main([]) == code
    page = capsys.readouterr().out
    assert f"{refused}.00 % was refused" in page
    assert ("good clients were refused too often" in page) == bool(code)


def test_a_short_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(soak, "_LONG_PROMPTS", 4)  # the cache is not filled, so memory says nothing here
    main(["--minutes", "0.1", "--every", "3", "--seed", "2"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    verdicts = {row[0].strip(): row[-1].strip() for row in rows}
    for name in ("API descriptors", "engine descriptors", "API tasks", "sequences", "KV cache share"):
        assert verdicts[name] == "comes back", verdicts
    assert {verdicts[kind] for kind in soak._KINDS} == {"0"}, "failed or lost"
