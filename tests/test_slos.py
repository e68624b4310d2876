from pathlib import Path

import pytest

from app.slos import InvalidSlos, load_slos

CHAT = '[[slo]]\nname = "ttft"\ntasks = ["chat"]\nobjective = 0.99\nthreshold_seconds = 0.5\n'


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "slos.toml"


def test_the_shipped_table_judges_every_task() -> None:
    assert {task for slo in load_slos() for task in slo.tasks} == {"chat", "completion", "decision"}


def test_a_table_of_ones_own(table: Path) -> None:
    table.write_text(CHAT)
    (slo,) = load_slos(table)
    assert (slo.name, slo.tasks, slo.objective, slo.threshold_seconds) == ("ttft", ("chat",), 0.99, 0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slo = ", "is no TOML"),
        ("", "slo: Field required"),
        ("slo = []", "slo: Tuple should have at least 1 item"),
        (CHAT.replace("0.99", "1.0"), "slo.0.objective"),
        (CHAT.replace("0.5", "0"), "slo.0.threshold_seconds"),
        (CHAT.replace('"ttft"', '"speed"'), "slo.0.name"),
        (CHAT.replace('"chat"', '"decision"'), "ttft is not measured of decision"),
        (CHAT.replace("threshold_seconds = 0.5\n", ""), "every objective but availability has"),
        (CHAT.replace('"ttft"', '"availability"'), "every objective but availability has"),
        (CHAT + "burn = 3\n", "slo.0.burn"),
        (CHAT + CHAT, "ttft of chat is there twice"),
    ],
)
def test_a_broken_table_is_one_clear_line(table: Path, text: str, says: str) -> None:
    table.write_text(text)
    with pytest.raises(InvalidSlos) as caught:
        load_slos(table)
    assert says in str(caught.value) and str(table) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_wrong_with_the_whole_table_names_no_place(table: Path) -> None:
    table.write_text(CHAT + CHAT)
    with pytest.raises(InvalidSlos) as caught:
        load_slos(table)
    assert str(caught.value) == f"{table}: ttft of chat is there twice"


def test_a_table_that_is_not_there(table: Path) -> None:
    with pytest.raises(InvalidSlos, match="cannot be read"):
        load_slos(table)
