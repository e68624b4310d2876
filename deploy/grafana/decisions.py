"""What is decided, how surely, and how fast."""

from app.metric_families.decisions import LOW_MASS
from deploy.grafana.board import Board, Section
from deploy.grafana.objectives import Objectives
from deploy.grafana.panels import (
    EVENTS_PER_SECOND,
    REQUESTS_PER_SECOND,
    SECONDS,
    SHARE,
    About,
    Panel,
    Query,
    bars,
    graph,
    heat,
    limited,
    neutral,
    tile,
)
from deploy.grafana.queries import RECENT, buckets, growth, mean, quantile, rate, share

MASS = "repartee_decision_label_mass"
CONFIDENCE = "repartee_decision_confidence"
DURATION = "repartee_request_duration_seconds"
STAGE = "repartee_stage_duration_seconds"

_OF_DECISIONS = 'task="decision"'


def decisions(objectives: Objectives) -> Board:
    """Decisions and classifications."""
    return Board(
        name="decisions",
        purpose="What is decided, how surely, how fast, and has the input drifted away from the labels?",
        sections=[
            Section("", _now(objectives)),
            Section("How surely", _surely()),
            Section("What", _what()),
            Section("How fast", _fast(objectives)),
        ],
    )


def _low_share(window: str) -> str:
    return share(
        rate("repartee_decision_low_mass_total", window=window),
        rate("repartee_decisions_total", window=window),
    )


def _now(objectives: Objectives) -> list[Panel]:
    return [
        tile(
            "Questions answered",
            About(
                f"Questions a second, over the last {RECENT}; a request may ask several.",
                "A sudden fall is trouble in front of the service.",
            ),
            EVENTS_PER_SECOND,
            rate("repartee_decisions_total", window=RECENT),
            neutral(),
            span=5,
        ),
        tile(
            "Whole decision p99",
            About(
                f"99 of 100 requests of the last {RECENT} were answered in this time. 0 means that nobody asked.",
                "At the limit of the objective.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            quantile(0.99, DURATION, where=_OF_DECISIONS, window=RECENT),
            limited(objectives.limit("e2e")),
            span=5,
        ),
        tile(
            "Low label mass",
            About(
                f"Share of the answers of the last {RECENT} with a label mass below {LOW_MASS:g}: the model would "
                "rather have said something that is no label, and a front end should abstain.",
                "A rise: the texts have changed, or a caller's labels do not fit them. How much is usual depends on "
                "the model and the questions.",
            ),
            SHARE,
            _low_share(RECENT),
            neutral(),
            span=5,
        ),
        tile(
            "Mean label mass",
            About(
                f"Mean probability of all labels together, over the last {RECENT}. 0 also without decisions.",
                "A fall: the texts have changed, or a caller's labels do not fit them.",
            ),
            SHARE,
            mean(MASS, window=RECENT),
            neutral(),
            span=5,
        ),
        tile(
            "Mean confidence",
            About(
                f"Mean of how far answers stand above chance, over the last {RECENT}. 0 also without decisions.",
                "Never by itself: it is no probability of being right.",
            ),
            SHARE,
            mean(CONFIDENCE, window=RECENT),
            neutral(),
            span=4,
        ),
    ]


def _surely() -> list[Panel]:
    return [
        heat(
            "Label mass",
            About(
                "How many answers had which label mass: the probability of all labels together before they were "
                "normalised.",
                "Weight that moves down: the texts have changed, or a caller's labels do not fit them.",
            ),
            SHARE,
            buckets(MASS),
            span=6,
        ),
        graph(
            "Label mass, low end",
            About(
                "5, 10 and 50 of 100 answers had at most this label mass. 0 also without decisions.",
                "The low end falls long before the mean does.",
            ),
            SHARE,
            *(Query(quantile(q, MASS), f"p{100 * q:g}") for q in (0.05, 0.1, 0.5)),
            span=6,
            top=1,
        ),
        graph(
            "Share of low label mass",
            About(
                f"Share of the answers with a label mass below {LOW_MASS:g}.",
                "A rise after a change of model, prompts or labels.",
            ),
            SHARE,
            Query(_low_share("$__rate_interval"), "below the limit"),
            span=6,
            top=1,
        ),
        heat(
            "Confidence",
            About(
                "How many answers stood how far above chance: 0 is a uniform answer, 1 a certain one.",
                "Weight that moves down: the questions have become harder, or their labels overlap.",
            ),
            SHARE,
            buckets(CONFIDENCE),
            span=6,
        ),
    ]


def _what() -> list[Panel]:
    return [
        graph(
            "Questions by type",
            About(
                "Questions answered, by type; `label` are those of `/v1/classify`.",
                "A type that ceases: a caller has changed or gone.",
            ),
            EVENTS_PER_SECOND,
            Query(rate("repartee_decisions_total", "type"), "{{type}}"),
            stacked=True,
        ),
        graph(
            "Answers by position",
            About(
                "Place of the likeliest option in the request's own list. The labels themselves are never exported.",
                "The first place gains without a reason: the model prefers what it reads first. Callers should "
                "shuffle.",
            ),
            EVENTS_PER_SECOND,
            Query(rate("repartee_decision_answers_total", "position"), "{{position}}"),
            stacked=True,
        ),
        bars(
            "Positions in the time shown",
            About(
                "Share of the answers of the time shown by the place of the likeliest option.",
                "One place has far more than its share, and callers do not sort their options.",
            ),
            SHARE,
            Query(
                f"({growth('repartee_decision_answers_total', 'position')} / scalar("
                f"{growth('repartee_decision_answers_total')}) >= 0) "
                f"or 0 * {growth('repartee_decision_answers_total', 'position')}",
                "{{position}}",
            ),
            steps=neutral(),
            top=1,
        ),
    ]


def _fast(objectives: Objectives) -> list[Panel]:
    return [
        graph(
            "Decision, whole",
            About(
                "First byte in to last byte out of decisions and classifications.",
                "p99 at the dashed line, the limit of the objective.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            *(
                Query(quantile(q, DURATION, where=_OF_DECISIONS), f"p{100 * q:g}", exemplar=q == 0.99)
                for q in (0.5, 0.9, 0.99)
            ),
            limit=objectives.limit("e2e"),
        ),
        graph(
            "Mean time by stage",
            About(
                "Mean time of a decision in each stage, stacked; `prefill` is all that the model does.",
                "`queue` that grows: decisions wait behind generation. Give them replicas of their own.",
                "QueueSaturated",
            ),
            SECONDS,
            Query(mean(STAGE, "stage", _OF_DECISIONS), "{{stage}}"),
            stacked=True,
        ),
        graph(
            "Requests by end",
            About(
                "Decision requests by how they ended.",
                "`error` and `timeout` are failures of the service.",
                "Errors",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_requests_total", "outcome", _OF_DECISIONS), "{{outcome}}"),
            stacked=True,
        ),
    ]
