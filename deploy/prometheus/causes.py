"""Alerts on what makes customers unhappy sooner or later; mostly tickets, for the error budgets page by themselves.

An installation is a job in a namespace: Kubernetes names the job of every installation alike. Elsewhere there is no
label `namespace`, and all that lack it are of one.
"""

from collections.abc import Sequence
from typing import Any

from app.metric_families.requests import SERVER_REJECTIONS
from app.slos import Slo
from deploy.prometheus.alert import Alert
from deploy.prometheus.burn_rates import MINIMUM_BAD_REQUESTS

_LEAST_REQUESTS_OF_A_P99 = 100
_REFUSED = "|".join(sorted(SERVER_REJECTIONS))
_INSTALLATION = "job, namespace"
_JOB = "{{ $labels.job }}{{ with $labels.namespace }} in {{ . }}{{ end }}"
_WHERE = "{{ $labels.instance }}"
_PERCENT = "{{ $value | humanizePercentage }}"


def cause_groups(slos: Sequence[Slo], runbook: str, job: str) -> list[dict[str, Any]]:
    """The group of rules; `job` is the scrape job, for metrics that every program has."""
    alerts = (*_whole(job), *_requests(slos), *_engine(), *_process(job))
    return [{"name": "repartee-causes", "rules": [alert.rule(runbook) for alert in alerts]}]


def _whole(job: str) -> tuple[Alert, ...]:
    """Whether there is a service at all. One replica of several is no reason to wake someone."""
    up = f'up{{job="{job}"}}'
    return (
        Alert(
            "Down",
            "page",
            # Targets that service discovery no longer finds are no series at all: that is down, too. Of what was there
            # within the hour the namespace is known.
            f"(sum by ({_INSTALLATION}) ({up})\n"
            f"or 0 * sum by ({_INSTALLATION}) (present_over_time({up}[1h]))\n"
            f"or absent_over_time({up}[1h]) - 1) == 0",
            lasting="1m",
            summary="No replica answers",
            description="{{ $value }} replicas of " + _JOB + " answer Prometheus.",
        ),
        Alert(
            "ReplicaDown",
            "ticket",
            f"{up} == 0 and on ({_INSTALLATION}) sum by ({_INSTALLATION}) ({up}) > 0",
            lasting="5m",
            summary="A replica does not answer, others do",
            description=f"{_WHERE} does not answer Prometheus (up is {{{{ $value }}}}).",
        ),
        Alert(
            "NoneReady",
            "page",
            # A proxy sends nothing to replicas that are not ready, so no error budget would tell.
            f"max by ({_INSTALLATION}) (repartee_ready) == 0",
            lasting="5m",
            summary="No replica is ready",
            description=f"Of {_JOB}, {{{{ $value }}}} replicas would serve a request.",
        ),
        Alert(
            "NotReady",
            "ticket",
            "repartee_ready == 0 unless repartee_draining == 1",
            lasting="5m",
            summary="A replica is not ready",
            description=f"{_WHERE} answers but would not serve (ready is {{{{ $value }}}}).",
        ),
    )


def _requests(slos: Sequence[Slo]) -> tuple[Alert, ...]:
    """What becomes of requests; shares of a handful alert nobody."""
    refused = f'repartee_request_rejections_total{{reason=~"{_REFUSED}"}}[5m]'
    accepted = 'repartee_requests_total{outcome!="rejected"}[5m]'
    failed = "repartee_request_errors_total[5m]"
    return (
        Alert(
            "Rejecting",
            "ticket",
            f"sum by ({_INSTALLATION}, task, reason) (rate({refused}))\n"
            f"/ on ({_INSTALLATION}, task) group_left ()"
            f" (sum by ({_INSTALLATION}, task) (rate(repartee_requests_total[5m])) > 0) > 0.01\n"
            f"and sum by ({_INSTALLATION}, task, reason) (increase({refused})) >= {MINIMUM_BAD_REQUESTS}",
            lasting="5m",
            summary="{{ $labels.task }} requests are refused: {{ $labels.reason }}",
            description=f"{_PERCENT} of the {{{{ $labels.task }}}} requests are refused with 503 because of "
            "{{ $labels.reason }}.",
        ),
        Alert(
            "Errors",
            "ticket",
            f"sum by ({_INSTALLATION}, model, task, type) (rate({failed}))\n"
            f"/ on ({_INSTALLATION}, model, task) group_left ()"
            f" (sum by ({_INSTALLATION}, model, task) (rate({accepted})) > 0) > 0.01\n"
            f"and sum by ({_INSTALLATION}, model, task, type) (increase({failed})) >= {MINIMUM_BAD_REQUESTS}",
            lasting="5m",
            summary="Accepted {{ $labels.task }} requests fail: {{ $labels.type }}",
            description=f"{_PERCENT} of the accepted {{{{ $labels.task }}}} requests end with an error of type "
            "{{ $labels.type }}.",
        ),
        *_slow_first_tokens(slos),
        Alert(
            "PolicyFailing",
            "ticket",
            f"sum by ({_INSTALLATION}, rule, at)"
            f' (increase(repartee_policy_actions_total{{action="failed"}}[5m])) >= {MINIMUM_BAD_REQUESTS}',
            lasting="5m",
            summary="Rule {{ $labels.rule }} of the policy cannot be judged",
            description="{{ $value | humanize }} requests within 5 minutes could not be judged by rule "
            "{{ $labels.rule }}, at their {{ $labels.at }}.",
        ),
        Alert(
            "NoTraffic",
            "info",
            f"sum by ({_INSTALLATION}) (increase(repartee_requests_total[15m])) == 0\n"
            f"and sum by ({_INSTALLATION}) (increase(repartee_requests_total[1d])) > 0",
            lasting="15m",
            summary="Requests have ceased",
            description=f"{{{{ $value }}}} requests came to {_JOB} within 15 minutes; earlier today some did.",
        ),
    )


def _slow_first_tokens(slos: Sequence[Slo]) -> tuple[Alert, ...]:
    """Against the longest threshold of the table, for the histogram is not by task; none where no objective is."""
    thresholds = [slo.threshold_seconds for slo in slos if slo.name == "ttft" and slo.threshold_seconds]
    if not thresholds:
        return ()
    seconds = max(thresholds)
    return (
        Alert(
            "TTFTHigh",
            "ticket",
            f"histogram_quantile(0.99, sum by ({_INSTALLATION}, model, le)"
            f" (rate(repartee_time_to_first_token_seconds_bucket[10m]))) > {seconds:g}\n"
            f"and sum by ({_INSTALLATION}, model) (increase(repartee_time_to_first_token_seconds_count[10m])) "
            f">= {_LEAST_REQUESTS_OF_A_P99}",
            lasting="10m",
            summary="First tokens are late",
            description="One request in a hundred to {{ $labels.model }} waits {{ $value | humanizeDuration }} or more "
            f"for its first token; the objective is {seconds:g} s.",
        ),
    )


def _engine() -> tuple[Alert, ...]:
    """Whether the engine has room and goes on."""
    return (
        Alert(
            "QueueSaturated",
            "ticket",
            "repartee_queue_requests / repartee_queue_limit_requests > 0.8",
            lasting="5m",
            summary="The queue is nearly full",
            description=f"The queue of {_WHERE} is {_PERCENT} full; when it is full, requests get 503.",
        ),
        Alert(
            "QueueStuck",
            "page",
            "repartee_queue_oldest_seconds > 10 and repartee_running_requests == 0",
            lasting="1m",
            summary="Requests wait while nothing runs",
            description=f"A request waits on {_WHERE} for {{{{ $value | humanizeDuration }}}}, and none runs.",
        ),
        Alert(
            "KVCacheNearFull",
            "ticket",
            "repartee_kv_cache_usage_ratio > 0.95",
            lasting="10m",
            summary="The KV cache is nearly full",
            description=f"The KV cache of {_WHERE} is {_PERCENT} full: sequences are preempted and computed again.",
        ),
        Alert(
            "GPUMemoryHigh",
            "ticket",
            "repartee_gpu_memory_used_bytes / repartee_gpu_memory_total_bytes > 0.95",
            lasting="10m",
            summary="GPU memory is nearly full",
            description=f"Memory of GPU {{{{ $labels.gpu }}}} of {_WHERE} is {_PERCENT} full.",
        ),
    )


def _process(job: str) -> tuple[Alert, ...]:
    """Whether the processes are well, and the alerting itself."""
    started = f'process_start_time_seconds{{job="{job}"}}'
    return (
        Alert(
            "EventLoopBlocked",
            "ticket",
            f"histogram_quantile(0.99, sum by ({_INSTALLATION}, instance, le)"
            " (rate(repartee_event_loop_lag_seconds_bucket[5m]))) > 0.05",
            lasting="5m",
            summary="The API process is blocked",
            description=f"One wake-up in a hundred of {_WHERE}'s event loop is {{{{ $value | humanizeDuration }}}} "
            "late or more, and every stream stalls as long.",
        ),
        Alert(
            "KeysStale",
            "ticket",
            "repartee_keys_stale == 1",
            lasting="1m",
            summary="The keys file cannot be used",
            description=f"{_WHERE} goes on with older keys (stale is {{{{ $value }}}}): what was revoked or added "
            "since has no effect.",
        ),
        Alert(
            "Restarting",
            "ticket",
            f"changes({started}[15m]) > 2",
            summary="A replica starts again and again",
            description=f"{_WHERE} was started {{{{ $value }}}} times within 15 minutes.",
            labels={"process": "api"},
        ),
        Alert(
            "Restarting",
            "ticket",
            # Where a replaced replica is a new target, no series changes: each is seen once, young, and then no more.
            # Those that were told to end are no crash.
            f"count by ({_INSTALLATION}) ((time() - last_over_time({started}[15m]) < 900)\n"
            f"unless {started} unless last_over_time(repartee_draining[15m]) == 1) > 2",
            lasting="1m",
            summary="Replicas end soon after their start, and others take their place",
            description=f"{{{{ $value }}}} replicas of {_JOB} were started within 15 minutes and are gone, "
            "though nobody told them to end.",
            labels={"process": "replica"},
        ),
        Alert(
            "Restarting",
            "ticket",
            # Rounded, because `increase` extends what it saw to the whole window.
            "round(increase(repartee_engine_restarts_total[15m])) > 2",
            summary="An engine process starts again and again",
            description=f"The engine process of {_WHERE} ended and was started again {{{{ $value }}}} times within "
            "15 minutes.",
            labels={"process": "engine"},
        ),
        Alert(
            "Watchdog",
            "none",
            "vector(1)",
            summary="Always there",
            description="It fires always, with the value {{ $value }}: whoever no longer gets it has no alerting.",
        ),
    )
