"""The kinds of panels that the dashboards are made of, each with one look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.prometheus.alert import PREFIX

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | bargauge.Panel | statetimeline.Panel | table.Panel
_P = TypeVar(
    "_P", timeseries.Panel, stat.Panel, heatmap.Panel, bargauge.Panel, statetimeline.Panel, table.Panel
)

BOARD_PREFIX = "repartee-"
"""What the address of every dashboard begins with."""
DATASOURCE = DataSourceRef("prometheus", "${datasource}")

GOOD, DOUBTFUL, BAD = "green", "orange", "red"

# Units of Grafana; those with a prefix scale as SI units do.
SECONDS, SHARE, COUNT, BYTES = "s", "percentunit", "short", "bytes"
REQUESTS_PER_SECOND, EVENTS_PER_SECOND, TOKENS_PER_SECOND = "reqps", "ops", "si:tok/s"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        legend: name of its series; `{{label}}` stands for a label's value.
        exemplar: also fetch the exemplars, the single requests behind the numbers.
    """

    expression: str
    legend: str
    exemplar: bool = False


@dataclass(frozen=True)
class About:
    """What a reader learns from the corner of a panel.

    Attributes:
        means: what is shown.
        worry: when it asks for action, and which.
        runbook: the alert, without its prefix, whose section of docs/runbook.md helps; if there is one.
        deeper: the dashboard, without its prefix, that says more; if there is one.
    """

    means: str
    worry: str
    runbook: str | None = None
    deeper: str | None = None

    def __str__(self) -> str:
        return f"{self.means}\n\n**When to worry:** {self.worry}"


def colours(lowest: str, *changes: tuple[float, str]) -> list[Threshold]:
    """One colour below the first value, and another from each value on."""
    return [Threshold(None, lowest), *(Threshold(value, colour) for value, colour in changes)]


def rising(doubtful: float, bad: float) -> list[Threshold]:
    """The more the worse."""
    return colours(GOOD, (doubtful, DOUBTFUL), (bad, BAD))


def falling(bad: float, doubtful: float) -> list[Threshold]:
    """The less the worse: bad below the first value, doubtful below the second."""
    return colours(BAD, (bad, DOUBTFUL), (doubtful, GOOD))


def limited(limit: float | None) -> list[Threshold]:
    """Bad from a limit on, and doubtful from four fifths of it."""
    return neutral() if limit is None else rising(round(0.8 * limit, 9), limit)


def neutral() -> list[Threshold]:
    """No value is better than another."""
    return colours("blue")


def tile(
    title: str, about: About, unit: str, expression: str, steps: list[Threshold], span: int = 3
) -> stat.Panel:
    """One number on a coloured ground.

    It is asked for now alone: the last number of a graph would still stand there, and green, after the replicas that
    gave it have gone.
    """
    panel = (
        stat.Panel()
        .unit(unit)
        .no_value("no data")
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(_last())
        .with_target(_target(Query(expression, title), "A").instant())
    )
    return _described(panel, title, about, span, 4)


def graph(
    title: str,
    about: About,
    unit: str,
    *queries: Query,
    span: int = 8,
    limit: float | None = None,
    stacked: bool = False,
    top: float | None = None,
) -> timeseries.Panel:
    """Lines over time; `limit` is drawn as one more, dashed; `top` ends the scale."""
    panel = (
        timeseries.Panel()
        .unit(unit)
        .min(0)
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .show_points(VisibilityMode.AUTO)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .targets([_target(query, ref).range() for query, ref in zip(queries, ascii_uppercase, strict=False)])
    )
    if top is not None:
        panel.max(top)
    if limit is not None:
        panel.thresholds(_thresholds([Threshold(None, "transparent"), Threshold(limit, BAD)]))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return _described(panel, title, about, span, 8)


def daily(title: str, about: About, unit: str, *queries: Query, span: int = 8) -> timeseries.Panel:
    """A bar for each day, for looking back over weeks; the queries ask for one day before each point."""
    panel = graph(title, about, unit, *queries, span=span, stacked=True)
    return panel.interval("1d").draw_style(GraphDrawStyle.BARS).fill_opacity(80)


def heat(title: str, about: About, unit: str, buckets: str, span: int = 8) -> heatmap.Panel:
    """How observations are spread: time to the right, values upwards, darker where there are more."""
    target = _target(Query(buckets, "{{le}}"), "A").format(PromQueryFormat.HEATMAP).range()
    panel = (
        heatmap.Panel()
        .unit("short")
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(32)
            .reverse(False)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .show_value(VisibilityMode.NEVER)
        .cell_gap(1)
        .mode(TooltipDisplayMode.SINGLE)
        .hide_legend()
        .exemplars_color("rgba(255,0,255,0.7)")
        .with_target(target)
    )
    return _described(panel, title, about, span, 8)


def bars(
    title: str,
    about: About,
    unit: str,
    *queries: Query,
    steps: list[Threshold],
    span: int = 8,
    bottom: float = 0,
    top: float | None = None,
) -> bargauge.Panel:
    """One bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .unit(unit)
        .min(bottom)
        .no_value("no data")
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .display_mode(BarGaugeDisplayMode.BASIC)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(_last())
        .targets(
            [_target(query, ref).instant() for query, ref in zip(queries, ascii_uppercase, strict=False)]
        )
    )
    if top is not None:
        panel.max(top)
    return _described(panel, title, about, span, 8)


def states(
    title: str, about: About, query: Query, names: Mapping[int, tuple[str, str]], span: int = 8
) -> statetimeline.Panel:
    """One band for each series; each value has a name and a colour."""
    mapping = ValueMap(
        {
            str(value): ValueMappingResult(text, color, index=index)
            for index, (value, (text, color)) in enumerate(names.items())
        }
    )
    panel = (
        statetimeline.Panel()
        .unit("none")
        .mappings([mapping])
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(neutral()))
        .fill_opacity(80)
        .legend(_legend())
        .with_target(_target(query, "A").range())
    )
    return _described(panel, title, about, span, 8)


def facts(title: str, about: About, expression: str, columns: Sequence[str], span: int = 24) -> table.Panel:
    """The labels of an info metric, one row for each series."""
    wanted = {name: position for position, name in enumerate(columns)}
    panel = (
        table.Panel()
        .unit("none")
        .with_target(_target(Query(expression, ""), "A").format(PromQueryFormat.TABLE).instant())
        .with_transformation(
            DataTransformerConfig(
                "organize", options={"indexByName": wanted, "excludeByName": {"Time": True, "Value": True}}
            )
        )
    )
    return _described(panel, title, about, span, 5)


@dataclass(frozen=True)
class Column:
    """A column of numbers."""

    title: str
    expression: str
    unit: str


def numbers(title: str, about: About, row: str, columns: Sequence[Column], span: int = 24) -> table.Panel:
    """One row for each value of a label, and a column for each query."""
    refs = list(zip(columns, ascii_uppercase, strict=False))
    names = {f"Value #{ref}": column.title for column, ref in refs}
    panel = (
        table.Panel()
        .unit("short")
        .targets(
            [
                _target(Query(column.expression, column.title), ref).format(PromQueryFormat.TABLE).instant()
                for column, ref in refs
            ]
        )
        .with_transformation(DataTransformerConfig("merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate([row, *names])},
                    "renameByName": names,
                },
            )
        )
    )
    for column in columns:
        panel.override_by_name(column.title, [DynamicConfigValue("unit", column.unit)])
    return _described(panel, title, about, span, 9)


def _described(panel: _P, title: str, about: About, span: int, height: int) -> _P:
    panel.title(title).description(str(about)).datasource(DATASOURCE).span(span).height(height)
    links = []
    if about.runbook is not None:
        links.append(_link("Runbook", f"${{runbook}}#{(PREFIX + about.runbook).lower()}"))
    if about.deeper is not None:
        address = f"/d/{BOARD_PREFIX}{about.deeper}?${{__all_variables}}&${{__url_time_range}}"
        links.append(_link(about.deeper.capitalize(), address))
    if links:
        panel.links(links)
    return panel


def _link(title: str, address: str) -> Builder[models.DashboardLink]:
    return DashboardLink(title).type(DashboardLinkType.LINK).url(address).target_blank(True)


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(ref)
        .datasource(DATASOURCE)
    )
    return target.exemplar(True) if query.exemplar else target


def _thresholds(steps: list[Threshold]) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .calcs([])
    )
