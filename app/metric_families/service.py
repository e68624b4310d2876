"""What the service is, and how its own process does."""

import platform
from collections.abc import Iterable

from app import __version__
from app.engine.messages import Ready
from app.metric_families.registry import Registry

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
STATUSES = ("2xx", "4xx", "5xx")


class ServiceFamilies:
    """Readiness, HTTP answers, the event loop, and what runs."""

    def __init__(self, registry: Registry, revision: str) -> None:
        self._model, self._revision = registry.model, revision
        self._ready = registry.plain_gauge("ready", "1 while the service can serve.")
        self._draining = registry.plain_gauge("draining", "1 while the service shuts down.")
        self._keys_stale = registry.plain_gauge(
            "keys_stale", "1 while the keys file cannot be used, so that older keys are in force."
        )
        self._loop_lag = registry.plain_histogram(
            "event_loop_lag_seconds",
            "Oversleep of the event loop: high values mean a blocked loop, not a slow model.",
        )
        self._http = registry.plain_counter(
            "http_requests",
            "HTTP requests by route template and status class.",
            ("route", "method", "status"),
        )
        self._build = registry.plain_gauge(
            "build_info",
            "Always 1; the labels say what runs.",
            (
                *("version", "revision", "python", "torch"),
                *("model", "backend", "dtype", "quantization", "kernels"),
            ),
        )

    def ready(self, info: Ready) -> None:
        """The engine told what it found and chose at start."""
        self._build.clear()
        self._build.labels(
            __version__,
            self._revision or "unknown",
            platform.python_version(),
            info.torch,
            self._model,
            info.device,
            info.dtype,
            info.quantization,
            info.kernels,
        ).set(1)

    def set_ready(self, ready: bool) -> None:
        """Whether the service can serve."""
        self._ready.set(ready)

    def set_draining(self, draining: bool) -> None:
        """Whether the service shuts down."""
        self._draining.set(draining)

    def set_keys_stale(self, stale: bool) -> None:
        """Whether the keys in force are older than the keys file."""
        self._keys_stale.set(stale)

    def know_routes(self, routes: Iterable[tuple[str, str]]) -> None:
        """Route templates with their methods: each starts at 0, so that a rate sees its first failure."""
        for route, method in routes:
            for status in STATUSES:
                self._http.labels(route, method, status)

    def http(self, route: str, method: str, status: int) -> None:
        """One HTTP answer; `route` is a template, `status` a number of three digits."""
        self._http.labels(route, method if method in METHODS else "other", f"{status // 100}xx").inc()

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so much later than asked."""
        self._loop_lag.observe(seconds)
