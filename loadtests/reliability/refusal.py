"""When a 429 or a 503 is a refusal: only soon after the request; later it breaks off what was let in."""

AT_ONCE_SECONDS = 1.0
"""From sending to a refusal, at most. Not the bar of overload.py, which is milliseconds: a refusal may miss that."""
