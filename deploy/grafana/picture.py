"""Draw what a dashboard asks for: each panel at its place, with what Prometheus answers, by matplotlib.

It shows the layout and the numbers. It is not Grafana, and looks otherwise.

python -m deploy.grafana.picture --prometheus ADDRESS [--board NAME] [--minutes M] [--output FILE]
"""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from deploy.grafana.generate import DASHBOARDS
from deploy.grafana.panels import BOARD_PREFIX

_POINTS = 120
_WINDOW_SECONDS = 30
_WIDTH, _ROW_HEIGHT = 20.0, 0.42  # inches of the whole, and of one row of the grid
_COLOURS = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "blue": "#5794f2"}


@dataclass(frozen=True)
class Line:
    """One series of a panel: its name, and its values at times."""

    name: str
    times: Sequence[float]
    values: Sequence[float]


class PrometheusAway(Exception):
    """Prometheus does not answer, or refuses; the message is one line."""


@dataclass(frozen=True)
class Source:
    """A Prometheus, and how many seconds before now are drawn."""

    url: str
    seconds: float
    now: float

    def lines(self, target: Mapping[str, Any]) -> list[Line]:
        """What a query of a panel gets.

        Raises:
            PrometheusAway: nothing.
        """
        instant = target.get("instant", False)
        times: dict[str, float] = (
            {"time": self.now}
            if instant
            else {"start": self.now - self.seconds, "end": self.now, "step": self.seconds / _POINTS}
        )
        parameters: dict[str, str | float] = {"query": self._filled(target["expr"]), **times}
        try:
            path = "query" if instant else "query_range"
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PrometheusAway(f"{self.url} does not answer as a Prometheus: {error}") from error
        if body["status"] != "success":
            raise PrometheusAway(f"{self.url} refuses {target['expr']}: {body['error']}")
        return [
            _line(_named(target.get("legendFormat", ""), series["metric"]), series)
            for series in body["data"]["result"]
        ]

    def _filled(self, expression: str) -> str:
        windows = {"$__rate_interval": f"{_WINDOW_SECONDS}s", "$__range": f"{math.ceil(self.seconds)}s"}
        for name, window in windows.items():
            expression = expression.replace(name, window)
        return re.sub(r"\$\w+", ".*", expression)


def _line(name: str, series: Mapping[str, Any]) -> Line:
    points = series.get("values") or [series["value"]]
    return Line(name, [float(at) for at, _ in points], [float(value) for _, value in points])


def _named(legend: str, labels: Mapping[str, str]) -> str:
    """The name of a series; all its labels where the legend names none of them."""
    if "{{" not in legend:
        return " ".join(filter(None, (legend, *labels.values())))
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def draw(board: Mapping[str, Any], source: Source) -> Figure:
    """The open panels of a dashboard.

    Raises:
        PrometheusAway: nothing is drawn then.
    """
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    height = (rows + 2) * _ROW_HEIGHT
    figure = Figure((_WIDTH, height), facecolor="white")
    when = datetime.fromtimestamp(source.now).astimezone()
    figure.text(
        0.01,
        1 - 0.35 * _ROW_HEIGHT / height,
        f"{board['title']}: what Prometheus answered to its queries at {when:%Y-%m-%d %H:%M}, drawn by matplotlib; "
        "not Grafana",
        fontsize=13,
        va="top",
    )
    for panel in board["panels"]:
        place = panel["gridPos"]
        top = 1 - (place["y"] + 1.5) * _ROW_HEIGHT / height
        if panel["type"] == "row":
            figure.text(0.01, top - 0.9 * _ROW_HEIGHT / height, panel["title"], fontsize=12, weight="bold")
            continue
        left = 0.15 if panel["type"] in ("stat", "bargauge", "table") else 0.95
        axes = figure.add_axes(
            (
                (place["x"] + left) / 24,
                top - (place["h"] - 0.9) * _ROW_HEIGHT / height,
                (place["w"] - left - 0.25) / 24,
                (place["h"] - 2.2) * _ROW_HEIGHT / height,
            )
        )
        _panel(axes, panel, source)
    return figure


def _panel(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    axes.set_title(panel["title"], fontsize=9, loc="left", pad=3)
    axes.tick_params(labelsize=7)
    lines = [line for target in panel["targets"] for line in source.lines(target)]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "stat":
        _tile(axes, lines, panel, unit)
    elif panel["type"] == "bargauge":
        _bars(axes, lines, panel, unit)
    elif panel["type"] == "table":
        axes.set_axis_off()
        rows = [f"{line.name}: {written(line.values[-1], 'short')}" for line in lines]
        axes.text(0, 1, "\n".join(rows), fontsize=6, va="top")
    elif panel["type"] == "heatmap":
        _heat(axes, lines, panel["options"]["yAxis"]["unit"], source)
    else:
        _lines(axes, lines, panel, unit, source)


def _colour(value: float, panel: Mapping[str, Any]) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return _COLOURS[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]


def _tile(axes: Axes, lines: Sequence[Line], panel: Mapping[str, Any], unit: str) -> None:
    value = lines[0].values[-1] if lines else None
    colour = "white" if value is None else _colour(value, panel)
    axes.set_facecolor(colour)
    axes.set_xticks([])
    axes.set_yticks([])
    text = "no data" if value is None else written(value, unit)
    axes.text(
        0.5, 0.5, text, fontsize=16, ha="center", va="center", color="black" if value is None else "white"
    )


def _bars(axes: Axes, lines: Sequence[Line], panel: Mapping[str, Any], unit: str) -> None:
    values = [line.values[-1] for line in lines]
    axes.barh(range(len(lines)), values, color=[_colour(value, panel) for value in values])
    axes.invert_yaxis()
    axes.set_yticks([])
    for place, line in enumerate(lines):
        axes.text(0, place, f" {line.name}  {written(line.values[-1], unit)}", fontsize=8, va="center")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))


def _lines(axes: Axes, lines: Sequence[Line], panel: Mapping[str, Any], unit: str, source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    shown = [line for line in lines if any(line.values)] if stacked else lines
    minutes = [[(at - source.now) / 60 for at in line.times] for line in shown]
    if stacked and len({tuple(times) for times in minutes}) == 1:
        axes.stackplot(minutes[0], [line.values for line in shown], labels=[line.name for line in shown])
    else:
        for times, line in zip(minutes, shown, strict=True):
            axes.plot(times, line.values, linewidth=1, label=line.name)
    for step in defaults.get("thresholds", {}).get("steps", []):
        if panel["type"] == "timeseries" and step["value"] is not None:
            axes.axhline(step["value"], color=_COLOURS["red"], linestyle="--", linewidth=1)
    axes.set_xlim(-source.seconds / 60, 0)
    values = [value for line in shown for value in line.values]
    axes.set_ylim(min(0, *values, 0), None if any(values) else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    if 0 < len([line for line in shown if line.name]) <= 10:
        axes.legend(fontsize=6, loc="upper left", ncols=2, framealpha=0.6)


def _heat(axes: Axes, lines: Sequence[Line], unit: str, source: Source) -> None:
    bounds = sorted(lines, key=lambda line: float(line.name))
    counts = [list(bounds[0].values)] if bounds else []
    counts += [
        [max(0.0, upper - lower) for lower, upper in zip(below.values, above.values, strict=False)]
        for below, above in pairwise(bounds)
    ]
    axes.imshow(
        [[math.sqrt(count) for count in row] for row in counts],
        aspect="auto",
        origin="lower",
        cmap="Oranges",
        extent=(-source.seconds / 60, 0, 0, len(counts)),
    )
    axes.set_yticks(
        [place + 1 for place in range(len(bounds))], [written(float(line.name), unit) for line in bounds]
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))


def written(value: float, unit: str) -> str:
    """A value as a person reads it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    suffix = {"s": " s", "reqps": "/s", "ops": "/s", "si:tok/s": " tok/s"}.get(unit, "")
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{suffix.strip()}"
    return f"{value:.3g}{suffix}"


def boards() -> Iterator[str]:
    """The names that a dashboard can be asked for by."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        yield path.stem.removeprefix(BOARD_PREFIX)


def main(arguments: Sequence[str]) -> int:
    """Write the picture; returns 2, after one line, where Prometheus or the file is out of reach."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana.picture", description="Draw a dashboard.")
    parser.add_argument("--prometheus", required=True, help="address, as http://127.0.0.1:9090")
    parser.add_argument(
        "--board", choices=list(boards()), default="overview", help="which; default: overview"
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="how far to look back; default: 15")
    parser.add_argument("--output", type=Path, help="file; default: the board's name with .png")
    options = parser.parse_args(arguments)
    output = options.output or Path(f"{options.board}.png")
    board = json.loads((DASHBOARDS / f"{BOARD_PREFIX}{options.board}.json").read_text("utf-8"))
    try:
        figure = draw(board, Source(options.prometheus.rstrip("/"), 60 * options.minutes, time.time()))
        figure.savefig(output, dpi=80)
    except PrometheusAway as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{output} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
