"""The table of guards is of this code: each stands once where it is said to, and its tests exist."""

import pytest

from tests.guards import GUARDS, ROOT, Guard, source


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_table_says(guard: Guard) -> None:
    assert source(guard).count(guard.text) == 1
    assert guard.text != guard.without
    assert all((ROOT / part).exists() for part in guard.tests.split() if part.startswith("tests/"))


def test_every_name_is_there_once() -> None:
    names = [guard.name for guard in GUARDS]
    assert len(set(names)) == len(names) > 50
