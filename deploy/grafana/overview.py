"""Is it healthy, is it fast, is it full."""

from app.slos import SloName
from deploy.grafana.board import Board, Section
from deploy.grafana.objectives import BUDGET_WINDOW, Objectives
from deploy.grafana.panels import (
    BAD,
    COUNT,
    DOUBTFUL,
    GOOD,
    REQUESTS_PER_SECOND,
    SECONDS,
    SHARE,
    TOKENS_PER_SECOND,
    About,
    Panel,
    Query,
    bars,
    colours,
    daily,
    falling,
    graph,
    limited,
    neutral,
    rising,
    states,
    tile,
)
from deploy.grafana.queries import OF_REPLICA, RECENT, SHOWN, growth, quantile, rate, series, share, total

TTFT = "repartee_time_to_first_token_seconds"
TOKEN_GAP = "repartee_time_per_output_token_seconds"
DURATION = "repartee_request_duration_seconds"
QUEUE_SATURATED = 0.8
"""As the alert QueueSaturated has it."""
KV_CACHE_NEAR_FULL = 0.95
"""As the alert KVCacheNearFull has it."""

_FIRING = 'ALERTS{alertstate="firing", alertname=~"Repartee.+", alertname!="ReparteeWatchdog", namespace=~"$namespace"'


def overview(objectives: Objectives) -> Board:
    """The page to open first: its top row answers in three seconds."""
    return Board(
        name="overview",
        purpose="Is it healthy, is it fast, is it full? Green tiles at the top mean yes, yes, no.",
        sections=[
            Section("", _now(objectives)),
            Section("Objectives", _budgets(objectives)),
            Section("Fast", _fast(objectives)),
            Section("Traffic", _traffic()),
            Section("Full", _full()),
            Section("Replica by replica", _replicas(objectives)),
            Section("Over the time shown", _long_term(objectives), closed=True),
        ],
    )


def _now(objectives: Objectives) -> list[Panel]:
    ready = f"(sum({series('repartee_ready', of=OF_REPLICA)}) or vector(0))"
    return [
        tile(
            "Serving",
            About("Replicas that take new work.", "At 0 nobody is served.", "NoneReady"),
            COUNT,
            ready,
            colours(BAD, (1, GOOD)),
            span=2,
        ),
        tile(
            "Not serving",
            About(
                "Replicas that Prometheus should reach and that do not serve: down, loading, restarting or draining.",
                "During a rolling update it is one for a moment; when it stays, see *Replica by replica* below.",
                "ReplicaDown",
            ),
            COUNT,
            f"count({series('up', of=OF_REPLICA)}) - {ready}",
            rising(1, 2),
            span=2,
        ),
        tile(
            "Pages",
            About("Alerts of severity `page` that fire now.", "Always: someone is or should be woken."),
            COUNT,
            f'count({_FIRING}, severity="page"}}) or vector(0)',
            colours(GOOD, (1, BAD)),
            span=2,
        ),
        tile(
            "Tickets",
            About("Alerts of severity `ticket` that fire now.", "In working hours: each is a slow harm."),
            COUNT,
            f'count({_FIRING}, severity="ticket"}}) or vector(0)',
            colours(GOOD, (1, DOUBTFUL)),
            span=2,
        ),
        tile(
            "Error budget left",
            About(
                f"Of the objective that is worst off: the share of its bad requests of {BUDGET_WINDOW} that is "
                "still allowed. Prometheus must keep that much history; with less it is that of what it kept.",
                "Below a quarter, changes should wait; below 0 the objective is missed.",
                "ErrorBudgetBurnSlow",
            ),
            SHARE,
            f"min({' or '.join(objectives.budget_left())})",
            falling(0, 0.25),
        ),
        tile(
            "Budget burn, 1 h",
            About(
                "How many times faster than allowed the worst objective spends its error budget, over one hour. "
                "1 spends exactly the whole budget in 30 days.",
                f"Above 1 it does not last; at {objectives.page_burn('1h'):g} the fast alert pages.",
                "ErrorBudgetBurnFast",
            ),
            COUNT,
            f"max({' or '.join(objectives.burn('1h'))})",
            rising(1, objectives.page_burn("1h")),
        ),
        tile(
            "First token p99",
            About(
                f"99 of 100 first tokens came within this time of arrival, queueing included, in the last {RECENT}. "
                "0 means that nobody asked.",
                "At the limit of the objective. See whether *Queue* is full, then the stages on *Latency*.",
                "TTFTHigh",
                deeper="latency",
            ),
            SECONDS,
            quantile(0.99, TTFT, window=RECENT),
            limited(objectives.limit("ttft")),
        ),
        tile(
            "Token gap p99",
            About(
                f"The mean gap between tokens of 99 of 100 answers of the last {RECENT} was at most this.",
                "At the limit of the objective: batches have grown too large, or the processor is shared.",
                "ErrorBudgetBurnFast",
                deeper="latency",
            ),
            SECONDS,
            quantile(0.99, TOKEN_GAP, window=RECENT),
            limited(objectives.limit("itl")),
        ),
        tile(
            "Queue",
            About(
                "Waiting sequences over the most that may wait, of the fullest replica.",
                f"From {QUEUE_SATURATED:.0%}; when it is full, requests are refused with 503.",
                "QueueSaturated",
                deeper="engine",
            ),
            SHARE,
            f"max({share(series('repartee_queue_requests'), series('repartee_queue_limit_requests'))})",
            rising(0.5, QUEUE_SATURATED),
            span=2,
        ),
        tile(
            "KV cache",
            About(
                "Share of the KV blocks that running sequences hold, of the fullest replica.",
                f"From {KV_CACHE_NEAR_FULL:.0%}: sequences are preempted and computed again.",
                "KVCacheNearFull",
                deeper="engine",
            ),
            SHARE,
            f"max({series('repartee_kv_cache_usage_ratio')})",
            rising(0.8, KV_CACHE_NEAR_FULL),
            span=2,
        ),
    ]


def _budgets(objectives: Objectives) -> list[Panel]:
    by_task = "{{task}} {{slo}}"
    return [
        bars(
            "Error budget left by objective",
            About(
                f"Share of the bad requests that {BUDGET_WINDOW} allow and that are still unspent.",
                "Below a quarter, changes should wait; below 0 the objective is missed.",
                "ErrorBudgetBurnSlow",
            ),
            SHARE,
            *(Query(expression, by_task) for expression in objectives.budget_left()),
            steps=falling(0, 0.25),
            top=1,
        ),
        graph(
            "Budget burn, 1 h, by objective",
            About(
                "How many times faster than allowed each error budget goes, as the alerts see it: of all replicas.",
                "The line is where the fast alert pages.",
                "ErrorBudgetBurnFast",
            ),
            COUNT,
            *(Query(expression, by_task) for expression in objectives.burn("1h")),
            limit=objectives.page_burn("1h"),
        ),
        graph(
            "Alerts that fire",
            About(
                "How many alerts fire, by name.",
                "Each name is a section of the runbook.",
                "Watchdog",
            ),
            COUNT,
            Query(
                f'sum by (alertname) ({_FIRING}}}) or label_replace(vector(0), "alertname", "none", "", "")',
                "{{alertname}}",
            ),
            stacked=True,
        ),
    ]


def _fast(objectives: Objectives) -> list[Panel]:
    return [
        graph(
            "Time to first token",
            About(
                "Arrival to first token, queueing included, of chats and completions. The diamonds are single "
                "requests: their trace opens from there where traces are on.",
                "p99 at the dashed line, the limit of the objective.",
                "TTFTHigh",
                deeper="latency",
            ),
            SECONDS,
            *(Query(quantile(q, TTFT), f"p{100 * q:g}", exemplar=q == 0.99) for q in (0.5, 0.9, 0.99)),
            limit=objectives.limit("ttft"),
        ),
        graph(
            "Gap between tokens",
            About(
                "Mean gap between the tokens of one answer: what its reader feels as speed.",
                "p99 at the dashed line, the limit of the objective.",
                "ErrorBudgetBurnFast",
                deeper="latency",
            ),
            SECONDS,
            *(Query(quantile(q, TOKEN_GAP), f"p{100 * q:g}") for q in (0.5, 0.9, 0.99)),
            limit=objectives.limit("itl"),
        ),
        graph(
            "Decision, whole",
            About(
                "First byte in to last byte out of decisions and classifications.",
                "p99 at the dashed line, the limit of the objective.",
                "ErrorBudgetBurnFast",
                deeper="decisions",
            ),
            SECONDS,
            *(
                Query(quantile(q, DURATION, where='task="decision"'), f"p{100 * q:g}")
                for q in (0.5, 0.9, 0.99)
            ),
            limit=objectives.limit("e2e"),
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        graph(
            "Requests by task and end",
            About(
                "Finished requests. `cancelled` are clients that went away, `rejected` those refused.",
                "`error` and `timeout` are failures of the service; a sudden fall of `ok` is trouble in front of it.",
                "Errors",
                deeper="tenants",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_requests_total", "task, outcome"), "{{task}} {{outcome}}"),
            stacked=True,
        ),
        graph(
            "Tokens",
            About(
                "Prompt tokens (those that the prefix cache served among them) and tokens generated.",
                "Generated tokens that level off while the queue grows: the engine is at its limit.",
                "QueueSaturated",
                deeper="tenants",
            ),
            TOKENS_PER_SECOND,
            Query(rate("repartee_generated_tokens_total"), "generated"),
            Query(rate("repartee_prompt_tokens_total"), "prompt"),
            Query(rate("repartee_prompt_cached_tokens_total"), "prompt, cached"),
        ),
        graph(
            "Rejections by reason",
            About(
                "Refused requests. `queue_full`, `draining` and `not_ready` are the service's own state and spend "
                "the availability budget; the others are what clients did.",
                "`queue_full` that lasts: add replicas. `unauthorized` in plenty: a key has expired, or a search "
                "for one.",
                "Rejecting",
                deeper="tenants",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_request_rejections_total", "reason", of=OF_REPLICA), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Policy",
            About(
                "Requests on which a rule of the policy file acted; nothing without one.",
                "`failed`: the model could not be asked, mostly for an overload; what becomes of the request then, the "
                "rule's `on_failure` says.",
                deeper="tenants",
            ),
            REQUESTS_PER_SECOND,
            Query(
                rate("repartee_policy_actions_total", "rule, at, action", of=OF_REPLICA),
                "{{rule}} {{at}} {{action}}",
            ),
            stacked=True,
            span=24,
        ),
    ]


def _full() -> list[Panel]:
    return [
        graph(
            "Queue against its limit",
            About(
                "Sequences that wait, and the most that may, of all chosen replicas.",
                "When they meet, requests are refused with 503.",
                "QueueSaturated",
            ),
            COUNT,
            Query(total(series("repartee_queue_requests")), "waiting"),
            Query(total(series("repartee_queue_limit_requests")), "limit"),
            span=6,
        ),
        graph(
            "Oldest in the queue",
            About(
                "How long the oldest waiting sequence waits, of the worst replica.",
                "It rises in a straight line while nothing runs: the engine is stuck.",
                "QueueStuck",
                deeper="latency",
            ),
            SECONDS,
            Query(f"max({series('repartee_queue_oldest_seconds')})", "oldest"),
            span=6,
        ),
        graph(
            "Running",
            About(
                "Sequences that the engines compute at once, of all chosen replicas, at the moment of each scrape.",
                "0 while the queue is not empty.",
                "QueueStuck",
                deeper="engine",
            ),
            COUNT,
            Query(total(series("repartee_running_requests")), "running"),
            span=6,
        ),
        graph(
            "KV cache in use",
            About(
                "Share of the KV blocks that running sequences hold.",
                f"From {KV_CACHE_NEAR_FULL:.0%}: sequences are preempted and computed again.",
                "KVCacheNearFull",
                deeper="engine",
            ),
            SHARE,
            Query(f"max({series('repartee_kv_cache_usage_ratio')})", "fullest replica"),
            Query(f"avg({series('repartee_kv_cache_usage_ratio')})", "mean"),
            span=6,
            limit=KV_CACHE_NEAR_FULL,
            top=1,
        ),
    ]


def _replicas(objectives: Objectives) -> list[Panel]:
    ready, draining, up = (
        f"max by (instance) ({series(name, of=OF_REPLICA)})"
        for name in ("repartee_ready", "repartee_draining", "up")
    )
    return [
        states(
            "State",
            About(
                "What each replica is ready for.",
                "Red or grey that lasts; one replica after the other in orange is a rolling update.",
                "NotReady",
            ),
            Query(f"({ready} + 2 * {draining}) or {up} - 1", "{{instance}}"),
            {
                -1: ("unreachable", "dark-red"),
                0: ("not ready", BAD),
                1: ("serving", GOOD),
                2: ("draining", DOUBTFUL),
                3: ("draining", DOUBTFUL),
            },
            span=6,
        ),
        graph(
            "Requests by replica",
            About(
                "Finished requests of each replica.",
                "Replicas of one size that differ much: the proxy does not spread the load.",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_requests_total", "instance"), "{{instance}}"),
            span=6,
        ),
        graph(
            "First token p99 by replica",
            About(
                "Arrival to first token, queueing included.",
                "One replica alone is slow: its machine is shared or throttled.",
                "TTFTHigh",
            ),
            SECONDS,
            Query(quantile(0.99, TTFT, "instance"), "{{instance}}"),
            span=6,
            limit=objectives.limit("ttft"),
        ),
        graph(
            "Queue by replica",
            About(
                "Sequences that wait at each replica.",
                "One queue grows while others are empty: session affinity holds too many to one replica.",
                "QueueSaturated",
            ),
            COUNT,
            Query(f"sum by (instance) ({series('repartee_queue_requests')})", "{{instance}}"),
            span=6,
        ),
    ]


def _long_term(objectives: Objectives) -> list[Panel]:
    kept: tuple[tuple[str, SloName], ...] = (
        ("Answered", "availability"),
        ("First token in time", "ttft"),
        ("Token gap in time", "itl"),
        ("Decision in time", "e2e"),
    )
    return [
        tile(
            "Requests",
            About("Finished requests in the time shown.", "Never: it is for comparing weeks."),
            COUNT,
            growth("repartee_requests_total"),
            neutral(),
            span=4,
        ),
        tile(
            "Tokens generated",
            About("Tokens generated in the time shown.", "Never: it is for comparing weeks."),
            COUNT,
            growth("repartee_generated_tokens_total"),
            neutral(),
            span=4,
        ),
        *(
            tile(
                title,
                About(
                    f"Share of the requests in the time shown that met the objective {slo}.",
                    f"Below {objective:.3%}, over a range of weeks.",
                    "ErrorBudgetBurnSlow",
                ),
                SHARE,
                objectives.met(slo, SHOWN),
                colours(BAD, (objective, GOOD)),
                span=4,
            )
            for title, slo in kept
            if (objective := objectives.objective(slo)) is not None
        ),
        daily(
            "Requests a day",
            About(
                "Finished requests of each day, by task. Show weeks to see a trend.",
                "When growth will reach the rate at which the queue last filled.",
            ),
            COUNT,
            Query(growth("repartee_requests_total", "task", window="1d"), "{{task}}"),
        ),
        daily(
            "Tokens a day",
            About(
                "Tokens of each day: those of prompts that had to be computed, those that the prefix cache served, "
                "those generated.",
                "When growth will reach what the replicas can compute.",
            ),
            COUNT,
            Query(growth("repartee_generated_tokens_total", window="1d"), "generated"),
            Query(
                f"{growth('repartee_prompt_tokens_total', window='1d')} - "
                f"{growth('repartee_prompt_cached_tokens_total', window='1d')}",
                "prompt, computed",
            ),
            Query(growth("repartee_prompt_cached_tokens_total", window="1d"), "prompt, cached"),
        ),
        daily(
            "Budget burn, 1 day",
            About(
                "How many times faster than allowed each error budget went on each day, of all replicas.",
                "Days above 1 that become more frequent.",
                "ErrorBudgetBurnSlow",
            ),
            COUNT,
            *(Query(expression, "{{task}} {{slo}}") for expression in objectives.burn("1d")),
        ),
    ]
