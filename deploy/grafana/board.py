"""The frame that all dashboards share: what can be chosen at the top, the links between them, the grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    ConstantVariable,
    CustomVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.panels import BOARD_PREFIX, DATASOURCE, Panel
from deploy.grafana.queries import OF_INSTALLATION, OF_REPLICA, series

TAG = "repartee"
EVERYTHING = VariableOption(selected=True, text="All", value="$__all")
_PANELS_A_ROW = 100

Variable = QueryVariable | CustomVariable


@dataclass(frozen=True)
class Section:
    """Panels below one heading, from left to right; the first section has no heading.

    Attributes:
        closed: the panels ask nothing until someone opens the heading. Only for the last sections of a board.
    """

    heading: str
    panels: Sequence[Panel]
    closed: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        name: its address in Grafana is made of it, and bookmarks and links keep that: never change it.
        purpose: the question that it answers.
        variables: what can be chosen beyond replicas and models.
        by_model: False where no panel asks for a model; the choice is then kept for the links, but not shown.
        since: how far it looks back when it is opened.
    """

    name: str
    purpose: str
    sections: Sequence[Section]
    variables: Sequence[Variable] = field(default=())
    by_model: bool = True
    since: str = "now-1h"

    @property
    def uid(self) -> str:
        """Its address in Grafana."""
        return BOARD_PREFIX + self.name


def build(board: Board, runbook: str) -> dashboard.Dashboard:
    """The dashboard as Grafana stores it; `runbook` is the address of the page that its panels link to."""
    builder = (
        Dashboard(f"Repartee / {board.name.capitalize()}")
        .uid(board.uid)
        .description(board.purpose)
        .tags([TAG])
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time(board.since, "now")
        .refresh("30s")
        .readonly()
        .version(1)
        .link(_other_boards())
        .annotation(_restarts())
    )
    for variable in (*_choices(board.by_model), *board.variables):
        builder.with_variable(variable)
    builder.with_variable(ConstantVariable("runbook").value(runbook))
    for number, section in enumerate(board.sections):
        first_id = number * _PANELS_A_ROW
        row = Row(section.heading).id(first_id).collapsed(section.closed)
        panels = [panel.id(first_id + place) for place, panel in enumerate(section.panels, 1)]
        if section.closed:
            for panel in panels:
                row.with_panel(panel)
        if section.heading:
            builder.with_row(row)
        if not section.closed:
            for panel in panels:
                builder.with_panel(panel)
    return builder.build()


def choice(name: str, label: str, query: str) -> QueryVariable:
    """A variable of all values that a query gives; several may be chosen, and all are at first."""
    return (
        QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .multi(True)
        .current(EVERYTHING)
    )


def fixed_choice(name: str, label: str, values: Sequence[str]) -> CustomVariable:
    """A variable of values that are known here."""
    return (
        CustomVariable(name)
        .label(label)
        .values(", ".join(values))
        .include_all(True)
        .multi(True)
        .current(EVERYTHING)
    )


def _choices(by_model: bool) -> list[DatasourceVariable | QueryVariable]:
    # A job is listed for a day after its last replica went, and an instance as long as it should be scraped: the
    # dashboards must not be empty when everything is down. `job` has no wildcard for "All", as `up` and `process_*`
    # are also those of other services.
    job = choice("job", "Job", "query_result(count by (job) (last_over_time(repartee_ready[1d])))").regex(
        '/job="([^"]+)"/'
    )
    namespace = choice("namespace", "Namespace", 'label_values(repartee_ready{job=~"$job"}, namespace)')
    namespace.all_value(".*")  # where there is none, too
    instance = choice("instance", "Replica", f"label_values(up{{{OF_INSTALLATION}}}, instance)")
    model = choice("model", "Model", f"label_values(repartee_running_requests{{{OF_INSTALLATION}}}, model)")
    if not by_model:
        model.hide(VariableHide.HIDE_VARIABLE)
    return [
        DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        job,
        namespace,
        instance,
        model,
    ]


def _other_boards() -> DashboardLink:
    return (
        DashboardLink("Repartee")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def _restarts() -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name("Engine restart")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("red")
        .expr(f"changes({series('repartee_engine_restarts_total', of=OF_REPLICA)}[1m]) > 0")
    )
