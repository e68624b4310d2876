"""PromQL as the dashboards ask it: of the replicas and models that are chosen at the top, and never NaN.

Without traffic a share or a quantile is 0 / 0. Every such expression here falls back to 0 where its family is
exported at all, so that a panel without data always means that the metric is missing.
"""

OF_INSTALLATION = 'job=~"$job", namespace=~"$namespace"'
"""In Kubernetes the jobs of all namespaces have one name; elsewhere there is no such label, which "All" matches too."""
OF_REPLICA = f'{OF_INSTALLATION}, instance=~"$instance"'
OF_MODEL = f'{OF_REPLICA}, model=~"$model"'
STEP = "$__rate_interval"
"""The window of a graph: as short as its resolution and the scrape interval allow."""
RECENT = "5m"
"""The window of a figure that stands for now: long enough to have seen some requests."""
SHOWN = "$__range"
"""The window of a figure that stands for the whole time shown."""


def series(name: str, where: str = "", of: str = OF_MODEL) -> str:
    """The chosen series of a metric; `where` are further matchers."""
    return f"{name}{{{', '.join(filter(None, (of, where)))}}}"


def total(expression: str, by: str = "") -> str:
    """Sum over all labels, or over all but those of `by`."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def rate(name: str, by: str = "", where: str = "", of: str = OF_MODEL, window: str = STEP) -> str:
    """A counter's growth per second."""
    return total(f"rate({series(name, where, of)}[{window}])", by)


def growth(name: str, by: str = "", where: str = "", of: str = OF_MODEL, window: str = SHOWN) -> str:
    """A counter's growth over a window."""
    return total(f"increase({series(name, where, of)}[{window}])", by)


def share(part: str, whole: str) -> str:
    """One amount over another of the same labels; 0 where there is nothing to share."""
    return f"({part} / {whole} >= 0) or 0 * {whole}"


def mean(name: str, by: str = "", where: str = "", of: str = OF_MODEL, window: str = STEP) -> str:
    """Mean of what a histogram or summary observed; 0 where it observed nothing."""
    amounts, observations = (rate(f"{name}_{part}", by, where, of, window) for part in ("sum", "count"))
    return share(amounts, observations)


def quantile(
    q: float, name: str, by: str = "", where: str = "", of: str = OF_MODEL, window: str = STEP
) -> str:
    """A quantile of what a histogram observed; 0 where it observed nothing."""
    buckets = rate(f"{name}_bucket", f"le, {by}" if by else "le", where, of, window)
    nothing = rate(f"{name}_count", by, where, of, window)
    return f"(histogram_quantile({q:g}, {buckets}) >= 0) or 0 * {nothing}"


def buckets(name: str, where: str = "", of: str = OF_MODEL) -> str:
    """How many observations fell into each bucket of a histogram, for a heatmap."""
    return growth(f"{name}_bucket", "le", where, of, STEP)
