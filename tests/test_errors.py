"""Errors: what those who are refused together are told."""

from app.errors import Draining, EngineRestarting, Overloaded, QuotaExceeded, Starting


def test_those_who_are_refused_together_do_not_come_back_together() -> None:
    for refuse, seconds in (
        (lambda: Overloaded(8.0), 8.0),
        (Starting, 2.0),
        (Draining, 5.0),
        (EngineRestarting, 2.0),
    ):
        told = {refuse().retry_after for _ in range(20)}
        assert len(told) == 20
        assert all(seconds <= after <= 1.5 * seconds for after in told)


def test_a_quota_is_told_exactly() -> None:
    assert QuotaExceeded("requests per second", 3.0).retry_after == 3.0
