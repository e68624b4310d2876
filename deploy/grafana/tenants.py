"""Who uses the service, how much, and how it treats them."""

from deploy.grafana.board import Board, Section, choice
from deploy.grafana.objectives import Objectives
from deploy.grafana.panels import (
    COUNT,
    REQUESTS_PER_SECOND,
    SECONDS,
    SHARE,
    TOKENS_PER_SECOND,
    About,
    Column,
    Panel,
    Query,
    graph,
    numbers,
)
from deploy.grafana.queries import OF_REPLICA, SHOWN, growth, mean, rate, share

REQUESTS = "repartee_tenant_requests_total"
TOKENS = "repartee_tenant_tokens_total"
TTFT = "repartee_tenant_time_to_first_token_seconds"

_CHOSEN = f'{OF_REPLICA}, tenant=~"$tenant"'
_TENANT = "{{tenant}}"


def tenants(objectives: Objectives) -> Board:
    """Tenants of the keys file; without one there is a single tenant, `-`."""
    return Board(
        name="tenants",
        purpose="Who uses the service, how much, and how does it treat them? The first 12 tenants of the keys file are "
        "told apart, the rest is `other`; without keys all is `-`.",
        sections=[
            Section("", [_table()]),
            Section("Requests", _requests()),
            Section("Tokens", _tokens()),
            Section("Speed", _speed(objectives)),
        ],
        variables=[choice("tenant", "Tenant", f"label_values({REQUESTS}{{{OF_REPLICA}}}, tenant)")],
        by_model=False,
        since="now-6h",
    )


def _grown(name: str, where: str = "") -> str:
    return growth(name, "tenant", where, _CHOSEN)


def _table() -> Panel:
    requests = _grown(REQUESTS)
    prompt, cached, generated = (
        _grown(TOKENS, f'type="{kind}"') for kind in ("prompt", "cached", "generated")
    )
    return numbers(
        "Tenants in the time shown",
        About(
            "What each tenant asked for and got in the time shown.",
            "*Failed* at all; *Refused* in plenty: a tenant runs into its quota, or sends what is refused.",
            "Errors",
        ),
        "tenant",
        [
            Column("Requests", requests, COUNT),
            Column("Failed", share(_grown(REQUESTS, 'outcome=~"error|timeout"'), requests), SHARE),
            Column("Refused", share(_grown(REQUESTS, 'outcome="rejected"'), requests), SHARE),
            Column("Went away", share(_grown(REQUESTS, 'outcome="cancelled"'), requests), SHARE),
            Column("Prompt tokens", prompt, COUNT),
            Column("From prefix cache", share(cached, prompt), SHARE),
            Column("Generated tokens", generated, COUNT),
            Column("Mean first token", mean(TTFT, "tenant", of=_CHOSEN, window=SHOWN), SECONDS),
        ],
    )


def _requests() -> list[Panel]:
    return [
        graph(
            "Requests by tenant",
            About(
                "Finished requests of each tenant.",
                "One tenant's jump explains everybody's queue: give its keys a quota.",
                "QueueSaturated",
            ),
            REQUESTS_PER_SECOND,
            Query(rate(REQUESTS, "tenant", of=_CHOSEN), _TENANT),
            stacked=True,
        ),
        graph(
            "Requests by end",
            About(
                "Requests of the chosen tenants by how they ended.",
                "`error` and `timeout` are failures of the service.",
                "Errors",
            ),
            REQUESTS_PER_SECOND,
            Query(rate(REQUESTS, "outcome", of=_CHOSEN), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Not answered, by tenant",
            About(
                "Requests that did not end well, by tenant and end.",
                "`rejected` of one tenant: its quota or its key. Of all: the service is full.",
                "Rejecting",
            ),
            REQUESTS_PER_SECOND,
            Query(
                rate(REQUESTS, "tenant, outcome", 'outcome!="ok"', _CHOSEN),
                "{{tenant}} {{outcome}}",
            ),
            stacked=True,
        ),
    ]


def _tokens() -> list[Panel]:
    kinds = (
        ("generated", "Tokens generated", "Tokens generated for each tenant.", "Whom capacity goes to."),
        ("prompt", "Prompt tokens", "Prompt tokens of each tenant, cached ones included.", "A sudden rise."),
        (
            "cached",
            "Prompt tokens from the prefix cache",
            "Prompt tokens that the prefix cache served.",
            "It falls while prompts do not: they no longer begin alike, or sessions change replicas.",
        ),
    )
    return [
        graph(
            title,
            About(means, worry),
            TOKENS_PER_SECOND,
            Query(rate(TOKENS, "tenant", f'type="{kind}"', _CHOSEN), _TENANT),
            stacked=True,
        )
        for kind, title, means, worry in kinds
    ]


def _speed(objectives: Objectives) -> list[Panel]:
    requests = rate(REQUESTS, "tenant", of=_CHOSEN)
    return [
        graph(
            "Mean time to first token",
            About(
                "Mean from arrival to first token, queueing included. A mean, as quantiles of each tenant would be "
                "too many series; 0 means that nobody asked.",
                "One tenant is slower than the others: its prompts are longer, or it sends them all at once. The line "
                "is the limit that 99 of 100 requests should keep.",
                "TTFTHigh",
            ),
            SECONDS,
            Query(mean(TTFT, "tenant", of=_CHOSEN), _TENANT),
            span=12,
            limit=objectives.limit("ttft"),
        ),
        graph(
            "Share not answered",
            About(
                "Share of a tenant's requests that failed, timed out or were refused.",
                "One tenant alone: its quota, its key or what it sends.",
                "Rejecting",
            ),
            SHARE,
            Query(
                share(rate(REQUESTS, "tenant", 'outcome=~"error|timeout|rejected"', _CHOSEN), requests),
                _TENANT,
            ),
            span=12,
            top=1,
        ),
    ]
