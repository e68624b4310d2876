"""Every panel over the real thing: the service with the embedded model under a short load, scraped by Prometheus."""

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml

from app.keys import new_key
from deploy.grafana.picture import main
from loadtests.prometheus_server import PrometheusServer, Sample, scrape
from tests.deploy.grafana.boards import BOARDS, Asked, asked, filled
from tests.deploy.prometheus_server import running_prometheus
from tests.service.running_service import MODEL, Service, running_service

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 5
_WAIT_SECONDS = 40
NOBODY = "http://127.0.0.1:9/v1/traces"

WITHOUT_SAMPLES = {
    "repartee-engine: GPU memory in use: A": "no GPU",
    "repartee-engine: GPU busy: A": "no GPU",
    "repartee-engine: Memory of PyTorch: A": "no GPU: PyTorch's allocator counts on CUDA alone",
}
"""The only queries that may find nothing here, and why."""

CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "How can I cancel my order?"}],
    "max_tokens": 40,
}
COMPLETION = {"model": MODEL, "prompt": "I want a refund because", "max_tokens": 40}
DECISIONS = {
    "model": MODEL,
    "input": "My card was charged twice and nobody answers!",
    "questions": [
        {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
        {
            "type": "choice",
            "name": "intent",
            "instructions": "What is it about?",
            "choices": [{"value": "refund"}, {"value": "delivery"}],
        },
        {
            "type": "score",
            "name": "urgency",
            "instructions": "How urgent is it?",
            "levels": [{"label": "low"}, {"label": "high"}],
        },
    ],
}
CLASSIFY = {"model": MODEL, "input": ["a refund please", "hello"], "labels": ["refund", "greeting"]}


@dataclass(frozen=True)
class Scene:
    """Prometheus after the load, and the replica that it scraped.

    Attributes:
        idle: what was wrong with the queries before the load, by panel.
    """

    prometheus: PrometheusServer
    service: Service
    idle: dict[str, str] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        """The replica as Prometheus names it."""
        return self.service.url.removeprefix("http://")

    def query(self, expression: str) -> list[Sample]:
        """What a panel with everything chosen gets for an expression."""
        escaped = re.escape(self.instance).replace("\\", "\\\\")
        chosen = {"$instance": escaped, "$model": MODEL}
        return self.prometheus.query(filled(expression, **chosen))

    def problem(self, query: Asked) -> str | None:
        """What is wrong with what a query gets; None if nothing is."""
        found = self.query(query.expression)
        if not found:
            return "nothing"
        if odd := [sample for sample in found if not math.isfinite(sample.value)]:
            return f"not finite: {odd[0]}"
        named = set(re.findall(r"{{(\w+)}}", query.legend)) - {"le"}
        if not all(named <= set(sample.labels) for sample in found):
            return f"no label {named - set(found[0].labels)}"
        return None

    def problems(self) -> dict[str, str]:
        """What is wrong with the queries of all panels."""
        found = {query.panel: self.problem(query) for query in asked()}
        assert len(found) > 100
        return {panel: problem for panel, problem in found.items() if problem is not None}


def rules(interval: str) -> dict[str, str]:
    """The shipped rules; those that are evaluated every few minutes, so often."""
    return {
        path.name: re.sub(r"(?m)^  interval: \w+$", f"  interval: {interval}", path.read_text())
        for path in (ROOT / "deploy/prometheus/rules").glob("*.yml")
    }


def load(service: Service, keys: list[str]) -> None:
    """Something of everything, from two tenants."""

    def post(path: str, body: object, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{service.url}/v1/{path}", json=body, headers=headers, timeout=60)

    for number in range(ROUNDS):
        key = keys[number % len(keys)]
        for path, body in (
            ("chat/completions", CHAT),
            ("chat/completions", CHAT | {"stream": True}),
            ("completions", COMPLETION),
            ("decisions", DECISIONS),
            ("classify", CLASSIFY),
        ):
            assert post(path, body, key).status_code == 200
        assert post("chat/completions", {"model": 5}, key).status_code == 400
        assert post("chat/completions", CHAT, "rp-wrong").status_code == 401
        time.sleep(0.5)
    leave(service, keys[0])


def leave(service: Service, key: str) -> None:
    """A client that goes away before its first token."""
    service.hold_engine()
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{service.url}/v1/chat/completions",
                json=CHAT | {"stream": True},
                headers={"Authorization": f"Bearer {key}"},
                timeout=1,
            )
    finally:
        service.release_engine()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = [new_key("acme"), new_key("globex"), new_key("prometheus", scopes=("metrics",))]
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(
        json.dumps(
            [
                {"id": entry.id, "sha256": entry.sha256, "tenant": entry.tenant, "scopes": entry.scopes}
                for _, entry in made
            ]
        )
    )
    (acme, globex, metrics) = (key for key, _ in made)
    policy = file.with_name("policy.toml")
    policy.write_text('[[rule]]\nname = "cards"\naction = "flag"\nwords = ["card"]\n')
    # Requests are traced, so that there are exemplars; nobody takes the traces.
    traced = {"traces_endpoint": NOBODY, "traces_sample_ratio": "1"}
    with running_service(api_keys_file=str(file), policy_file=str(policy), **traced) as service:
        config = scrape(service.url.removeprefix("http://"))
        config["scrape_configs"][0]["authorization"] = {"credentials": metrics}
        files = rules("1s")
        with running_prometheus(config | {"rule_files": sorted(files)}, files=files) as prometheus:
            prometheus.wait_for("count_over_time(repartee_ready[1m]) >= 3", _WAIT_SECONDS)
            prometheus.wait_for("repartee:slo_requests:increase1h", _WAIT_SECONDS)
            idle = Scene(prometheus, service).problems()
            load(service, [acme, globex])
            prometheus.wait_for('sum(repartee_request_cancellations_total{task="chat"}) >= 1', _WAIT_SECONDS)
            prometheus.wait_for("repartee:slo_error_ratio:rate1d", _WAIT_SECONDS)
            time.sleep(2)  # two scrapes more: what appeared with the last request has a rate, too
            yield Scene(prometheus, service, idle)


def test_every_query_of_every_panel_finds_finite_numbers(scene: Scene) -> None:
    assert scene.problems() == dict.fromkeys(WITHOUT_SAMPLES, "nothing")


def test_panels_of_a_replica_that_nobody_asks_show_nothing_odd(scene: Scene) -> None:
    """Shares and quantiles of nothing are 0, not NaN and not empty."""
    assert scene.idle == dict.fromkeys(WITHOUT_SAMPLES, "nothing")


@pytest.mark.parametrize(
    ("expression", "legend", "problem"),
    [
        ('rate(repartee_no_such_thing_total{job=~"$job"}[$__rate_interval])', "", "nothing"),
        ("repartee_preemptions_total / repartee_preemptions_total", "", "not finite"),
        ("histogram_quantile(0.99, rate(repartee_stage_duration_seconds_bucket[1ms]))", "", "nothing"),
        ("sum(repartee_ready)", "{{instance}}", "no label"),
    ],
)
def test_a_broken_panel_would_be_found(scene: Scene, expression: str, legend: str, problem: str) -> None:
    found = scene.problem(Asked("broken", expression, legend))
    assert found is not None and found.startswith(problem)


def numbers(scene: Scene, panel: str) -> dict[tuple[str, ...], float]:
    """What a query finds, by the values of its labels."""
    (query,) = (query for query in asked() if query.panel == panel)
    return {tuple(sample.labels.values()): sample.value for sample in scene.query(query.expression)}


def test_the_panels_tell_what_happened(scene: Scene) -> None:
    """Finite alone could be all zero."""

    assert numbers(scene, "repartee-overview: Serving: A") == {(): 1}
    assert numbers(scene, "repartee-overview: Not serving: A") == {(): 0}
    assert numbers(scene, "repartee-overview: Error budget left: A")[()] <= 1
    assert numbers(scene, "repartee-overview: First token p99: A")[()] > 0
    assert numbers(scene, "repartee-overview: Policy: A")[("flag", "input", "cards")] > 0
    assert numbers(scene, "repartee-overview: State: A") == {(scene.instance,): 1}
    assert numbers(scene, "repartee-overview: Rejections by reason: A")[("unauthorized",)] > 0
    assert min(numbers(scene, "repartee-latency: Mean time by stage: A").values()) > 0
    assert min(numbers(scene, "repartee-decisions: Questions by type: A").values()) > 0
    assert sum(
        numbers(scene, "repartee-decisions: Positions in the time shown: A").values()
    ) == pytest.approx(1)
    assert numbers(scene, "repartee-decisions: Mean label mass: A")[()] > 0
    requests = numbers(scene, "repartee-tenants: Tenants in the time shown: A")
    assert requests[("acme",)] > 0 and requests[("globex",)] > 0
    assert sum(numbers(scene, "repartee-engine: Clients that went away: A").values()) > 0


def test_first_tokens_have_exemplars_with_the_name_that_the_datasource_links(scene: Scene) -> None:
    (link,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ][0]["jsonData"]["exemplarTraceIdDestinations"]
    expression = next(query.expression for query in asked() if query.panel.endswith("Time to first token: C"))
    now = time.time()
    series = scene.prometheus.get(
        "query_exemplars", query=filled(expression), start=str(now - 300), end=str(now)
    )
    found = [exemplar["labels"] for one in series for exemplar in one["exemplars"]]
    assert found
    assert all(re.fullmatch("[0-9a-f]{32}", labels[link["name"]]) for labels in found)


def test_what_can_be_chosen_is_found(scene: Scene) -> None:
    assert offered(scene) == {
        "job": {"repartee"},
        "namespace": set(),
        "instance": {scene.instance},
        "model": {MODEL},
        "tenant": {"acme", "globex", "prometheus", "-"},
    }


def offered(scene: Scene) -> dict[str, set[str]]:
    """The choices at the top of the dashboards."""
    found: dict[str, set[str]] = {}
    for board in BOARDS.values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                query = filled(variable["query"]["query"])
                found.setdefault(variable["name"], set()).update(choices(scene.prometheus, query))
    return found


def test_a_dashboard_is_drawn(scene: Scene, tmp_path: Path) -> None:
    for name in ("decisions", "tenants"):  # small ones that have panels of all kinds
        picture = tmp_path / f"{name}.png"
        asked_for = ["--prometheus", scene.prometheus.url, "--board", name, "--output", str(picture)]
        assert main([*asked_for, "--minutes", "1"]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_overview_shows_a_replica_that_has_gone(scene: Scene) -> None:
    """The last test: it ends the service."""
    scene.service.process.terminate()
    scene.prometheus.wait_for("up == 0", _WAIT_SECONDS)
    assert numbers(scene, "repartee-overview: Serving: A") == {(): 0}
    assert numbers(scene, "repartee-overview: Not serving: A") == {(): 1}
    assert numbers(scene, "repartee-overview: State: A") == {(scene.instance,): -1}
    assert numbers(scene, "repartee-overview: Queue: A") == {}, "no data, and no old number on green ground"
    assert offered(scene)["job"] == {"repartee"}
    assert offered(scene)["instance"] == {scene.instance}


def choices(prometheus: PrometheusServer, query: str) -> set[str]:
    """The values that Grafana makes of a variable's query: it has two functions of its own."""
    function, argument = re.fullmatch(r"(\w+)\((.*)\)", query).groups()  # type: ignore[union-attr]
    if function == "query_result":
        return {sample.labels["job"] for sample in prometheus.query(argument)}
    assert function == "label_values"
    selector, label = argument.rsplit(", ", 1)
    return set(prometheus.get(f"label/{label}/values", **{"match[]": selector}))
