"""BatchGain: how many sequences at once do nearly as much as any number of them."""

import pytest

from app.engine.batch_gain import BatchGain


def gain_of(own: float, each: float, most: int, least: int = 1, steps: int = 200) -> BatchGain:
    """Steps of so few and up to so many sequences, each a token, that take `own` and `each` a sequence."""
    gain = BatchGain()
    for _ in range(steps):
        for sequences in range(least, most + 1):
            gain.measured(sequences, sequences, own + each * sequences)
    return gain


def test_it_is_where_throughput_hardly_grows() -> None:
    """A step of its own time of three sequences: 22 do 88 %, eleven 79 % of what any number could."""
    assert gain_of(own=3.0, each=1.0, most=64).enough() == 22
    assert gain_of(own=1.0, each=1.0, most=64).enough() == 11


def test_as_long_as_more_do_more_there_is_no_end() -> None:
    assert gain_of(own=1000.0, each=1.0, most=64).enough() is None
    assert gain_of(own=1.0, each=0.0, least=24, most=40).enough() is None


def test_steps_without_time_or_tokens_tell_nothing() -> None:
    gain = BatchGain()
    for _ in range(200):
        gain.measured(4, 4, 0.0)
        gain.measured(8, 0, 1.0)
    assert gain.enough() is None


def test_nothing_is_said_of_numbers_that_were_not_seen() -> None:
    assert gain_of(own=3.0, each=1.0, most=3).enough() is None
    assert gain_of(own=0.1, each=1.0, most=64, steps=1).enough() is None
    assert BatchGain().enough() is None


def test_more_that_do_less_are_not_worth_it() -> None:
    gain = BatchGain()
    for sequences, rate in ((4, 10.0), (8, 16.0), (16, 15.0), (32, 12.0)):
        for _ in range(200):
            gain.measured(sequences, sequences, sequences / rate)
    assert gain.enough() == 11


def test_what_was_measured_long_ago_is_forgotten() -> None:
    gain = gain_of(own=1.0, each=1.0, most=64)
    assert gain.enough() == 11
    for _ in range(5000):
        for sequences in (1, 2, 4, 8, 16, 32, 64):
            gain.measured(sequences, sequences, 1000.0)
    assert gain.enough() is None


@pytest.mark.parametrize("tokens", [1, 100])
def test_tokens_count_and_not_steps(tokens: int) -> None:
    gain = BatchGain()
    for _ in range(200):
        for sequences in (4, 8, 16):
            gain.measured(sequences, sequences * tokens, 1.0)
    assert gain.enough() is None
