"""What guards cost: the arithmetic of the bench."""

import pytest

from loadtests.reliability.guards_cost import Figures, report, verdicts


def figures(*, more: float, lost: float) -> Figures:
    return Figures(
        guarded_seconds=[0.001 + more] * 3,
        bare_seconds=[0.001] * 3,
        guarded_speed=[100 * (1 - lost), 50 * (1 - lost), 200 * (1 - lost)],
        bare_speed=[100.0, 50.0, 200.0],
    )


@pytest.mark.parametrize(
    ("more", "lost", "found"),
    [(0.0002, 0.005, ["pass", "pass"]), (0.0004, 0.005, ["FAIL", "pass"]), (0.0002, 0.02, ["pass", "FAIL"])],
)
def test_what_was_promised_is_kept_or_not(more: float, lost: float, found: list[str]) -> None:
    assert [gate.verdict for gate in verdicts(figures(more=more, lost=lost))] == found


def test_the_page_has_both_services_and_its_command() -> None:
    page = report(figures(more=0.0002, lost=0.005), "python -m loadtests.reliability.guards_cost --rounds 2")
    assert page.startswith("# What the guards cost, 20")
    assert all(word in page for word in ("| with guards | 1.200", "| without | 1.000", "--rounds 2"))
