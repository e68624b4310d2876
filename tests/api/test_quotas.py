import pytest

from app.api.quotas import Quota
from app.errors import QuotaExceeded
from app.keys import KeyEntry


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def quota(clock: Clock, **limits: float) -> Quota:
    return Quota(KeyEntry(id="k", sha256="0" * 64, tenant="t", **limits), clock)  # type: ignore[arg-type]


def test_requests_per_second(clock: Clock) -> None:
    limited = quota(clock, requests_per_second=2)
    for _ in range(2):
        limited.admit()
    with pytest.raises(QuotaExceeded) as caught:
        limited.admit()
    assert caught.value.retry_after == pytest.approx(0.5)
    clock.now += 0.5
    limited.admit()


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"requests_per_second": 1}, "requests per second"),
        ({"concurrency": 1}, "requests at once"),
        ({"tokens_per_minute": 1}, "tokens per minute"),
    ],
)
def test_a_refusal_says_which_quota(clock: Clock, limits: dict[str, float], named: str) -> None:
    limited = quota(clock, **limits)
    limited.admit()
    with pytest.raises(QuotaExceeded) as caught:
        limited.admit()
    assert str(caught.value) == f"Rate limit reached for this API key: {named}."


def test_less_than_one_request_a_second(clock: Clock) -> None:
    limited = quota(clock, requests_per_second=0.5)
    limited.admit()
    with pytest.raises(QuotaExceeded) as caught:
        limited.admit()
    assert caught.value.retry_after == pytest.approx(2.0)


def test_concurrency_is_given_back(clock: Clock) -> None:
    limited = quota(clock, concurrency=1)
    limited.admit()
    with pytest.raises(QuotaExceeded):
        limited.admit()
    limited.release(0)
    limited.admit()


def test_tokens_are_charged_afterwards_and_debt_is_refused(clock: Clock) -> None:
    limited = quota(clock, tokens_per_minute=60)
    limited.admit()
    limited.release(90)
    with pytest.raises(QuotaExceeded) as caught:
        limited.admit()
    assert caught.value.retry_after == pytest.approx(31.0)
    clock.now += 31
    limited.admit()


def test_headers_tell_only_the_limits_there_are(clock: Clock) -> None:
    limited = quota(clock, requests_per_second=4)
    limited.admit()
    assert limited.headers() == {
        "x-ratelimit-limit-requests": "4",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "0.250s",
    }
    assert quota(clock, concurrency=1).headers() == {}
    assert "x-ratelimit-limit-tokens" in quota(clock, tokens_per_minute=5).headers()


def test_many_at_once_do_not_pass_on_the_same_tokens(clock: Clock) -> None:
    limited = quota(clock, tokens_per_minute=1000)
    limited.admit()
    limited.admit()
    with pytest.raises(QuotaExceeded) as caught:  # two that are open are taken for 1,024 tokens
        limited.admit()
    assert caught.value.retry_after == 1.0
    for _ in range(2):
        limited.release(20)
    for _ in range(20):
        limited.admit()
        limited.release(20)
    clock.now += 60
    admitted = 0
    with pytest.raises(QuotaExceeded):
        while True:
            limited.admit()
            admitted += 1
    assert 40 <= admitted <= 50  # 1,000 tokens at a little more than 20 each


def test_refused_requests_say_nothing_of_what_others_take(clock: Clock) -> None:
    limited = quota(clock, tokens_per_minute=1000)
    for _ in range(100):
        limited.admit()
        limited.release(0)
    limited.admit()
    limited.admit()
    with pytest.raises(QuotaExceeded):
        limited.admit()


def test_one_that_is_alone_is_always_admitted_while_tokens_are_left(clock: Clock) -> None:
    limited = quota(clock, tokens_per_minute=1)
    limited.admit()
    limited.release(1)
    with pytest.raises(QuotaExceeded):
        limited.admit()
