"""The pictures show what was measured: the worst case is in the curve, and an objective stands at its place."""

import pytest

from app.bench import plots
from app.bench.sample import Sample
from app.slos import Slo

TTFT = Slo(name="ttft", tasks=("chat",), objective=0.99, threshold_seconds=0.5)


def sample(first: float) -> Sample:
    return Sample("chat", "chat", 1.0, 0.0, 0.0, first=first, total=first, gaps=[0.01, 0.02])


def curve(values: list[float]) -> list[float]:
    """The heights of a drawn curve in milliseconds."""
    axes = plots.new_figure(4, 4).add_subplot()
    plots._curve(axes, values, "answers", 0)
    return [float(height) for height in axes.lines[0].get_ydata()]


@pytest.mark.parametrize("count", [1, 2, 40, 5000])
def test_a_curve_goes_from_the_least_to_the_greatest_and_never_down(count: int) -> None:
    heights = curve([(number + 1) / 1e3 for number in range(count)])
    assert heights[0] == pytest.approx(1) and heights[-1] == pytest.approx(count)
    assert heights == sorted(heights)


def test_nobody_is_worst_but_the_worst() -> None:
    heights = curve([0.01] * 39 + [1.0])
    assert heights[-1] == 1000 and heights[:-2] == [pytest.approx(10)] * (len(heights) - 2)


@pytest.mark.parametrize("count", [10, 3000, 30_000])
def test_the_worst_is_within_the_picture(count: int) -> None:
    axes = plots.new_figure(4, 4).add_subplot()
    plots._curve(axes, [0.1] * count, "answers", 0)
    plots._finish(axes, plots._panels([TTFT])[0])
    assert float(axes.lines[0].get_xdata()[-1]) < axes.get_xlim()[1] < 4.2


def test_a_picture_is_a_png_and_an_svg_with_its_texts() -> None:
    picture = plots.latency_picture("a <title>", {"one": [sample(0.1), sample(0.2)]}, [TTFT])
    assert picture.png.startswith(b"\x89PNG") and picture.svg.startswith("<svg")
    assert "Time to first token" in picture.svg and "objective: 99 % within 500 ms" in picture.svg
    assert "a &lt;title&gt;" in picture.svg
    assert "Decision" not in picture.svg  # there was none


def test_a_run_without_an_answer_has_a_picture_too() -> None:
    failed = Sample("chat", "chat", 1.0, 0.0, 0.0, outcome="error", error="it broke")
    assert plots.latency_picture("nothing", {"one": [failed]}, [TTFT]).png.startswith(b"\x89PNG")
