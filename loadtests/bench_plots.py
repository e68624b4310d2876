"""Pictures of a bench's report: speed and first tokens of its subjects against the number of streams."""

import statistics
from collections.abc import Mapping, Sequence

from app.bench.plots import COLOURS, DASHES, Picture, new_figure, picture_of, plain_numbers
from loadtests.report import Samples

_PANELS = {"tok/s": "Tokens a second of all streams (log)", "TTFT ms": "Time to first token, ms (log)"}


def streams_pictures(groups: Mapping[str, Sequence[str]], samples: Samples) -> dict[str, Picture]:
    """A picture for each table that has figures of several numbers of streams, by a name for its file."""
    found = {}
    for number, (heading, subjects) in enumerate(groups.items(), 1):
        known = {name: samples[name] for name in subjects if name in samples}
        if picture := streams_picture(heading, known):
            found[f"streams-{number}"] = picture
    return found


def streams_picture(title: str, samples: Samples) -> Picture | None:
    """Medians of the rounds with bars from the least to the greatest; None without several numbers of streams."""
    curves = {
        (figure, name): points
        for figure in _PANELS
        for name, found in samples.items()
        if len(points := _points(found, figure)) > 1
    }
    if not curves:
        return None
    picture = new_figure(10.4, 5.4)
    for number, (figure, label) in enumerate(_PANELS.items(), 1):
        axes = picture.add_subplot(1, len(_PANELS), number)
        for place, name in enumerate(samples):
            points = curves.get((figure, name), {})
            if not points:
                continue
            middle = [statistics.median(values) for values in points.values()]
            below = [mid - min(values) for mid, values in zip(middle, points.values(), strict=True)]
            above = [max(values) - mid for mid, values in zip(middle, points.values(), strict=True)]
            axes.errorbar(list(points), middle, [below, above], label=name, marker="o", markersize=4, capsize=3,
                          color=COLOURS[place % len(COLOURS)], linestyle=DASHES[place % len(DASHES)])  # fmt: skip
        streams = sorted({stream for points in curves.values() for stream in points})
        axes.set(title=label, xlabel="streams at once (log)", xscale="log", yscale="log")
        plain_numbers(axes)
        axes.set_xticks(streams, map(str, streams))
        axes.set_xticks([], minor=True)
        axes.grid(True, alpha=0.35)
    handles, labels = picture.axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    picture.suptitle(title)
    return picture_of(picture, title)


def _points(found: Mapping[str, list[float]], figure: str) -> dict[int, list[float]]:
    """The rounds of one figure by the number of streams."""
    points = {}
    for name, values in found.items():
        streams, times, rest = name.partition(" x ")
        if times and rest == figure and streams.isdigit():
            points[int(streams)] = values
    return dict(sorted(points.items()))
