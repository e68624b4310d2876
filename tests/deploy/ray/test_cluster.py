"""Two real replicas behind Ray Serve's HAProxy. The tests share one cluster and run in order: the last one ends it."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import get_args

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from app.keys import Scope, new_key
from deploy.ray.environment import VARIABLES
from tests.deploy.prometheus_server import running_prometheus
from tests.deploy.ray.cluster import ROOT, Cluster, running_cluster
from tests.service.running_service import MODEL

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
STREAM = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me about my refund."}],
    "stream": True,
    "ignore_eos": True,
    "max_tokens": 1800,
    "temperature": 0,
}
SHORT = STREAM | {"stream": False, "max_tokens": 3}
MAX_WAITING = 40
SLOW_KEY, SLOW = new_key("acme", "slow")
KEY, ENTRY = new_key("acme", "all")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    slow = {"id": "slow", "sha256": SLOW.sha256, "tenant": "acme", "requests_per_second": 0.01}
    every = {"id": "all", "sha256": ENTRY.sha256, "tenant": "acme", "scopes": get_args(Scope)}
    file.write_text(json.dumps([slow, every]))
    # What is shipped: with less, a busy HAProxy may still send work to a replica that has gone.
    draining = {name: VARIABLES[name] for name in ["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"]}
    settings = {"api_keys_file": str(file), "max_waiting": str(MAX_WAITING)}
    with running_cluster(key=KEY, environment=draining, **settings) as running:
        yield running


def eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not become so"
        time.sleep(0.1)


def started_streams(cluster: Cluster, clients: ThreadPoolExecutor, number: int) -> list["Future[bool]"]:
    """Streams, each of a session of its own, that have begun; each tells in the end whether it was whole."""
    begun = threading.Semaphore(0)

    def read(session: int) -> bool:
        last = ""
        headers = {"x-session-id": f"stream {session}"}
        with cluster.http.stream("POST", CHAT, json=STREAM, headers=headers) as answer:
            for line in filter(None, answer.iter_lines()):
                if not last:
                    begun.release()
                last = line
        return last == "data: [DONE]"

    streams = [clients.submit(read, session) for session in range(number)]
    for _ in streams:
        assert begun.acquire(timeout=30)
    return streams


def test_requests_without_a_session_go_round(cluster: Cluster) -> None:
    replicas = cluster.replicas()
    assert len(replicas) == 2
    before = {name: _models_asked(cluster, address) for name, address in replicas.items()}

    def all_asked() -> bool:
        cluster.http.get("/v1/models").raise_for_status()
        return all(_models_asked(cluster, address) > before[name] for name, address in replicas.items())

    eventually(all_asked)


def test_a_session_stays_with_one_replica(cluster: Cluster) -> None:
    replicas = cluster.replicas()
    homes = []
    for session in range(16):  # enough that both replicas have some, however the hash falls
        before = {name: _models_asked(cluster, address) for name, address in replicas.items()}
        for _ in range(3):
            cluster.http.get("/v1/models", headers={"x-session-id": f"session {session}"}).raise_for_status()
        asked = {name: _models_asked(cluster, replicas[name]) - before[name] for name in replicas}
        assert sorted(asked.values()) == [0, 3]
        homes.append(max(asked, key=lambda name: asked[name]))
    assert set(homes) == set(replicas)


def test_a_session_finds_its_prefix_in_the_cache(cluster: Cluster) -> None:
    body = SHORT | {"messages": [{"role": "user", "content": "My order 4711 is late. " * 8}]}
    usages = [
        cluster.http.post(CHAT, json=body, headers={"x-session-id": "prefix"}).json()["usage"]
        for _ in range(2)
    ]
    assert [usage["prompt_tokens_details"]["cached_tokens"] > 0 for usage in usages] == [False, True]


def _models_asked(cluster: Cluster, address: str) -> float:
    return cluster.sample(address, "repartee_http_requests_total", route="/v1/models")


def test_prometheus_finds_and_scrapes_every_replica(cluster: Cluster) -> None:
    config = yaml.safe_load((ROOT / "deploy/ray/prometheus.yml").read_text())
    (job, _) = config["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    discovery["url"] = discovery["url"].replace(
        "http://127.0.0.1:8000", str(cluster.http.base_url).rstrip("/")
    )
    discovery["authorization"] = job["authorization"] = {"type": "Bearer", "credentials": KEY}
    del config["rule_files"], config["alerting"]
    config |= {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    with running_prometheus(config) as prometheus:
        prometheus.wait_for('count(repartee_ready{job="repartee"} == 1) == 2', 60)
        scraped = {sample.labels["replica"] for sample in prometheus.query("repartee_ready")}
    assert scraped == set(cluster.replicas())


def test_only_a_key_for_metrics_learns_where_replicas_are(cluster: Cluster) -> None:
    headers = {"Authorization": "Bearer none"}
    assert cluster.http.get("/metrics/replicas", headers=headers).status_code == 401


def test_an_answer_has_one_request_id(cluster: Cluster) -> None:
    answer = cluster.http.get("/v1/models")
    assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
    assert answer.headers["x-request-id"].startswith("req_")
    assert "x-client-request-id" not in answer.headers
    answer = cluster.http.get("/v1/models", headers={"x-request-id": "mine"})
    assert answer.headers["x-client-request-id"] == "mine"


def test_events_are_not_held_back(cluster: Cluster) -> None:
    with cluster.http.stream("POST", CHAT, json=STREAM) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        for _ in range(3):
            next(lines)
        with cluster.engines_held():
            assert _running(cluster) == 1, "the whole answer came at once"
        assert list(lines)[-1] == "data: [DONE]"


def test_a_client_that_leaves_ends_its_work(cluster: Cluster) -> None:
    before = _cancelled(cluster)
    with cluster.http.stream("POST", CHAT, json=STREAM) as answer:
        next(answer.iter_lines())
    eventually(lambda: _cancelled(cluster) == before + 1)
    eventually(lambda: _running(cluster) == 0)


def _running(cluster: Cluster) -> float:
    return sum(cluster.sample(each, "repartee_running_requests") for each in cluster.replicas().values())


def _cancelled(cluster: Cluster) -> float:
    name = "repartee_request_cancellations_total"
    return sum(cluster.sample(address, name) for address in cluster.replicas().values())


def test_overload_is_told_as_the_application_tells_it(cluster: Cluster) -> None:
    session = {"x-session-id": "overload"}
    with ThreadPoolExecutor(MAX_WAITING + 5) as clients:
        with cluster.engines_held():
            requests = [
                clients.submit(cluster.http.post, CHAT, json=SHORT, headers=session)
                for _ in range(MAX_WAITING + 5)
            ]
            eventually(lambda: sum(request.done() for request in requests) == 5)
            refused = [request.result() for request in requests if request.done()]
        answered = [request.result() for request in requests]
    assert Counter(answer.status_code for answer in answered) == {200: MAX_WAITING, 503: 5}
    for answer in refused:
        assert answer.json()["error"]["code"] == "server_is_overloaded"
        assert int(answer.headers["retry-after"]) >= 1


def test_a_quota_is_told_as_the_application_tells_it(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {SLOW_KEY}", "x-session-id": "quota"}
    cluster.http.get("/v1/models", headers=headers)
    refused = cluster.http.get("/v1/models", headers=headers)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) >= 1


def status(cluster: Cluster, number: int) -> int:
    """Of a small request of one of eight sessions; 0 where the connection was cut."""
    try:
        headers = {"x-session-id": f"session {number % 8}"}
        return cluster.http.get("/v1/models", headers=headers).status_code
    except httpx.TransportError:
        return 0


def test_a_killed_replica_is_replaced_and_few_requests_are_lost_meanwhile(cluster: Cluster) -> None:
    """What the replica had is lost, and what meets the proxy while it learns of an end or a beginning may be, too."""
    before = set(cluster.replicas())
    killed = cluster.replica_processes()[0]
    engines = killed.children()
    killed.kill()
    killed.wait(20)
    answers = Counter[int]()

    def replaced() -> bool:
        answers.update(status(cluster, number) for number in range(8))
        with suppress(httpx.HTTPError):  # one of the lost may be this one
            now = set(cluster.replicas())
            return len(now) == 2 and now != before
        return False

    eventually(replaced, 90)
    assert answers.total() - answers[200] <= 5 < answers[200]
    eventually(lambda: all(status(cluster, number) == 200 for number in range(60)))
    psutil.wait_procs(engines, timeout=20)
    assert not any(engine.is_running() for engine in engines)


def test_a_rolling_update_loses_no_stream(cluster: Cluster) -> None:
    before = set(cluster.replicas())
    with ThreadPoolExecutor(16) as clients:
        streams = started_streams(cluster, clients, 16)
        cluster.process.send_signal(signal.SIGHUP)
        statuses = []
        while before & set(cluster.replicas()):
            statuses.append(cluster.http.get("/v1/models").status_code)
        assert set(statuses) == {200}
        assert all(stream.result() for stream in streams)
    eventually(lambda: len(cluster.replicas()) == 2)


def test_the_end_lets_streams_end_and_leaves_no_process(cluster: Cluster) -> None:
    family = cluster.process.children(recursive=True)
    with ThreadPoolExecutor(4) as clients:
        streams = started_streams(cluster, clients, 4)
        cluster.process.terminate()
        assert all(stream.result() for stream in streams)
    assert cluster.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
