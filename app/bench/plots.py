"""Pictures of a run, as PNG and SVG, by matplotlib: no dependency of the service, loaded where a plot is asked for.

Colours are Okabe and Ito's, told apart by colour-blind eyes too; lines differ in their dashes besides.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bench.figures import Figures, percentile
from app.bench.sample import Sample
from app.slos import Slo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":")
_OBJECTIVE = "#444444"
_TICKS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
_POINTS = 400
MISSING = "--plot needs matplotlib, which is not installed here (pip install matplotlib)"


def can_plot() -> bool:
    """Whether matplotlib is there."""
    return find_spec("matplotlib") is not None


@dataclass(frozen=True)
class Picture:
    """One figure in both forms."""

    title: str
    png: bytes
    svg: str

    def save(self, path: Path) -> None:
        """Write the PNG.

        Raises:
            OSError: it cannot be written.
        """
        path.write_bytes(self.png)


def latency_picture(title: str, series: Mapping[str, Sequence[Sample]], slos: Sequence[Slo]) -> Picture:
    """Percentile curves of first tokens, gaps and whole answers, one line a series, with the objectives' corners.

    A curve meets an objective where it passes below its horizontal line at the marked percentile.
    """
    panels = [panel for panel in _panels(slos) if any(map(panel.values, series.values()))]
    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / 2)
    figure = new_figure(5.2 * max(columns, 1), 4.2 * max(rows, 1))
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        for place, (name, samples) in enumerate(series.items()):
            _curve(axes, panel.values(samples), name, place)
        _finish(axes, panel)
    figure.suptitle(title)
    return picture_of(figure, title)


@dataclass(frozen=True)
class _Panel:
    """One kind of latency."""

    title: str
    attribute: str
    decisions: bool
    slo: Slo | None

    def values(self, samples: Sequence[Sample]) -> list[float]:
        """The latencies in seconds, of the same requests as in `figures`."""
        if self.attribute == "first":
            return [sample.first for sample in samples if sample.first is not None]
        chosen = [s for s in samples if s.outcome == "ok" and (s.task == "decision") == self.decisions]
        if self.attribute == "gaps":
            return [gap for sample in chosen for gap in sample.gaps]
        return [value for sample in chosen if (value := getattr(sample, self.attribute)) is not None]


def _panels(slos: Sequence[Slo]) -> list[_Panel]:
    by_name = {slo.name: slo for slo in slos}
    return [
        _Panel("Time to first token", "first", False, by_name.get("ttft")),
        _Panel("Gap between texts", "gaps", False, None),
        _Panel("Mean gap per token of a request", "per_token", False, by_name.get("itl")),
        _Panel("Whole generated answer", "total", False, None),
        _Panel("Decision, whole answer", "total", True, by_name.get("e2e")),
    ]


def _curve(axes: "Axes", values: Sequence[float], name: str, place: int) -> None:
    if not values:
        return
    ordered = sorted(values)
    steps = min(_POINTS, len(ordered))
    # Even on the axis that is drawn, so that the tail has as many points as the middle.
    shares = [1 - 10 ** (-step / steps * math.log10(max(len(ordered), 2))) for step in range(steps + 1)]
    heights = [max(percentile(ordered, share), 1e-6) * 1e3 for share in shares]
    # The greatest of n stands where the last n-th begins: the curve ends by rising to it.
    axes.plot(
        [_tail(share) for share in (*shares, shares[-1])],
        [*heights, ordered[-1] * 1e3],
        marker="o",
        markevery=[-1],
        markersize=4,
        label=f"{name} (n = {len(ordered):,})",
        color=COLOURS[place % len(COLOURS)],
        linestyle=DASHES[place % len(DASHES)],
        linewidth=1.8,
    )


def _tail(share: float) -> float:
    """The place of a percentile on an axis on which each nine is as long as the one before."""
    return -math.log10(max(1 - share, 1e-4))


def _finish(axes: "Axes", panel: _Panel) -> None:
    if panel.slo and panel.slo.threshold_seconds:
        threshold, objective = panel.slo.threshold_seconds * 1e3, panel.slo.objective
        axes.axhline(threshold, color=_OBJECTIVE, linestyle=(0, (1, 1)), linewidth=1.2)
        axes.plot([_tail(objective)], [threshold], marker="v", markersize=9, color=_OBJECTIVE, linestyle="none",
                  label=f"objective: {objective * 100:g} % within {threshold:g} ms")  # fmt: skip
    axes.set(title=panel.title, xlabel="percentile of requests", ylabel="milliseconds (log)", yscale="log")
    if panel.attribute == "gaps":
        axes.set_xlabel("percentile of gaps")
    plain_numbers(axes)
    axes.set_xticks([_tail(share) for share in _TICKS], [f"{share * 100:g}" for share in _TICKS])
    axes.set_xlim(0, max(_tail(0.999), axes.dataLim.x1 + 0.05))
    axes.grid(True, which="major", alpha=0.35)
    axes.legend(fontsize=8, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend


@dataclass(frozen=True)
class RatePoint:
    """One rate of a sweep; `void` where the client kept it from being measured."""

    rate: float
    figures: Figures
    void: bool = False


def sweep_picture(
    title: str, points: Sequence[RatePoint], slos: Sequence[Slo], knee: float | None
) -> Picture:
    """Latency and goodput against the rate of arrivals, with the knee, the highest rate that met the objectives."""
    points = sorted(points, key=lambda point: point.rate)
    figure = new_figure(9.6, 8.4)
    above = figure.add_subplot(2, 1, 1)
    below = figure.add_subplot(2, 1, 2, sharex=above)
    valid = [point for point in points if not point.void]
    rates = [point.rate for point in valid]
    lines = {
        "first token p50": [point.figures.ttft[0.5] for point in valid],
        "first token p99": [point.figures.ttft[0.99] for point in valid],
        "mean gap per token p99": [point.figures.per_token[0.99] for point in valid],
        "decision p99": [point.figures.decision_total[0.99] for point in valid],
    }
    for place, (name, values) in enumerate(lines.items()):
        if any(not math.isnan(value) for value in values):
            above.plot(rates, [value * 1e3 for value in values], label=name, marker="o", markersize=4,
                       color=COLOURS[place], linestyle=DASHES[place])  # fmt: skip
    for slo in slos:
        if slo.threshold_seconds:
            above.axhline(slo.threshold_seconds * 1e3, color=_OBJECTIVE, linestyle=(0, (1, 1)), linewidth=1)
            above.annotate(f"{slo.name} objective {slo.threshold_seconds * 1e3:g} ms",
                           (0.01, slo.threshold_seconds * 1e3), xycoords=("axes fraction", "data"),
                           ha="left", va="bottom", fontsize=8, color=_OBJECTIVE)  # fmt: skip
    above.set(ylabel="milliseconds (log)", yscale="log", title="Latency, counted from when a request was due")
    below.plot(
        rates,
        [point.figures.requests / point.figures.seconds for point in valid],
        color=_OBJECTIVE,
        linestyle=(0, (1, 1)),
        label="all that arrived",
    )
    below.plot(rates, [point.figures.goodput for point in valid], marker="o", markersize=4,
               color=COLOURS[2], label="goodput: met every objective")  # fmt: skip
    below.set(
        xlabel="arrivals a second (Poisson, log)",
        ylabel="requests a second",
        xscale="log",
        title="Goodput",
    )
    below.set_ylim(bottom=0)  # no log: an overrun service's goodput may be nothing
    for point in points:
        if point.void:
            for axes in (above, below):
                axes.axvline(point.rate, color=COLOURS[3], linestyle=":", linewidth=1.2,
                             label="void: the client was late")  # fmt: skip
    for axes in (above, below):
        if knee is not None:
            axes.axvline(knee, color=COLOURS[1], linewidth=1.6, label=f"knee: {knee:.3g} requests/s")
        axes.grid(True, which="major", alpha=0.35)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(
            handles.values(), handles.keys(), fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5)
        )
    plain_numbers(above)
    plain_numbers(below, "x")
    figure.suptitle(title)
    return picture_of(figure, title)


def plain_numbers(axes: "Axes", axis: str = "y") -> None:
    """Ticks of a log axis as 1, 2, 5, 10 instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    which = axes.yaxis if axis == "y" else axes.xaxis
    low, high = which.get_view_interval()
    narrow = high < 30 * low
    which.set_major_locator(LogLocator(base=10, subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)))
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    which.set_minor_formatter(NullFormatter())


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def picture_of(figure: "Figure", title: str) -> Picture:
    """The finished figure in both forms."""
    from matplotlib import rc_context

    png, svg = io.BytesIO(), io.StringIO()
    keep: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": title}
    with rc_context(keep):
        figure.savefig(png, format="png", dpi=130)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    text = svg.getvalue()
    return Picture(title, png.getvalue(), text[text.index("<svg") :])
