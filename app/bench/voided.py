"""When a run says more about the client than about the server."""

from collections.abc import Sequence

from app.bench.figures import percentile
from app.bench.sample import Sample

MOST_LAG_SECONDS = 0.025
"""By default: a twentieth of the time in which a first token must come."""


def void_reason(samples: Sequence[Sample], most_lag: float = MOST_LAG_SECONDS) -> str | None:
    """Why a run is void, in one line; None where it is not.

    A client that wakes up late sends late and reads late: it, or the machine that it shares with the server, was the
    bottleneck.
    """
    lag = percentile([sample.lag for sample in samples], 0.99)
    if lag <= most_lag or not samples:
        return None
    return (
        f"void: the client itself was late (p99 {lag * 1e3:.1f} ms, at most {most_lag * 1e3:g} ms); "
        "it, and not the server, is the bottleneck"
    )
