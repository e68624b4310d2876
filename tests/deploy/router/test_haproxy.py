"""The router of the profile `scale`: the real HAProxy with the shipped configuration, before two stub replicas."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from app.settings import Settings
from loadtests.processes import free_port, running
from tests.deploy.debian_tools import require
from tests.deploy.router.replica import Replica
from tests.service.running_service import ROOT

CONFIG = ROOT / "deploy/router/haproxy.cfg"
TEXT = CONFIG.read_text()
SESSIONS = [f"session-{number}" for number in range(12)]


@pytest.fixture
def replicas() -> Iterator[tuple[Replica, Replica]]:
    pair = Replica("one"), Replica("two")
    yield pair
    for replica in pair:
        replica.end()


@contextmanager
def running_router(text: str, replicas: tuple[Replica, Replica], folder: Path) -> Iterator[httpx.Client]:
    """A client of HAProxy with a configuration, once both replicas have passed its checks."""
    port, config = free_port(), folder / "haproxy.cfg"
    text = text.replace("bind :8080", f"bind 127.0.0.1:{port}")
    for name, replica in zip(("repartee", "repartee-2"), replicas, strict=True):
        text = text.replace(f"server {name} {name}:8000", f"server {name} 127.0.0.1:{replica.port}")
    assert ":8000" not in text
    config.write_text(text)
    with running([require("haproxy", "haproxy"), "-f", str(config)], {}) as process:
        process.wait_for(port, "/readyz", 20)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client


@pytest.fixture
def router(replicas: tuple[Replica, Replica], tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of HAProxy with the shipped configuration."""
    with running_router(TEXT, replicas, tmp_path) as client:
        yield client


def eventually(true: Callable[[], bool]) -> None:
    """Ask until it is so."""
    for _ in range(10_000):
        if true():
            return
    pytest.fail("it did not become so")


def answered_by(router: httpx.Client, session: str | None = None) -> str:
    answer = router.get("/", headers={"x-session-id": session} if session else {})
    assert answer.status_code == 200
    return str(answer.json()["replica"])


def eventually_only(router: httpx.Client, name: str) -> None:
    """Ask until eight answers in a row come from one replica; each answer is a good one meanwhile."""
    row = 0
    for _ in range(10_000):
        row = row + 1 if answered_by(router) == name else 0
        if row == 8:
            return
    pytest.fail(f"not only {name} is asked")


def test_haproxy_takes_the_configuration() -> None:
    command = [require("haproxy", "haproxy"), "-c", "-f", str(CONFIG)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    warnings = [line for line in checked.stderr.splitlines() if "WARNING" in line]
    assert all("could not resolve" in line for line in warnings), warnings


def test_a_session_stays_with_its_replica_and_others_take_turns(router: httpx.Client) -> None:
    places = {session: {answered_by(router, session) for _ in range(3)} for session in SESSIONS}
    assert all(len(names) == 1 for names in places.values())
    assert {name for names in places.values() for name in names} == {"one", "two"}
    assert {answered_by(router) for _ in range(4)} == {"one", "two"}


def test_no_request_is_lost_with_a_replica_that_takes_no_connection(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    before = {session: answered_by(router, session) for session in SESSIONS}
    replicas[0].end()
    after = {session: answered_by(router, session) for session in SESSIONS}
    assert "one" in before.values()
    assert set(after.values()) == {"two"}


def test_a_replica_that_is_not_ready_gets_no_new_work_and_ends_its_streams(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    with router.stream("GET", "/stream") as answer:
        holder = next(replica for replica in replicas if replica.asked["/stream"])
        other = next(replica for replica in replicas if replica is not holder)
        holder.ready = False
        eventually_only(router, other.name)
        holder.go_on.release(3)
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert events == ["data: 0", "data: 1", "data: 2"]


def test_events_come_one_by_one(router: httpx.Client, replicas: tuple[Replica, Replica]) -> None:
    """The replica says the next event only when the one before was read; a router that buffers would wait for ever."""
    with router.stream("GET", "/stream") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        seen = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(line)
                for replica in replicas:
                    replica.go_on.release()
    assert seen == ["data: 0", "data: 1", "data: 2"]


def test_a_client_that_leaves_is_seen_by_the_replica(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    with router.stream("GET", "/stream") as answer:
        next(answer.iter_lines())
    (holder,) = [replica for replica in replicas if replica.asked["/stream"]]
    assert holder.left.wait(20)


def test_a_client_that_leaves_before_the_answer_is_seen_too(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        router.get("/silent", timeout=0.5)
    (holder,) = [replica for replica in replicas if replica.asked["/silent"]]
    assert holder.left.wait(20)


@pytest.mark.parametrize(("path", "status"), [("/busy", 503), ("/limited", 429)])
def test_a_refusal_reaches_the_client_as_it_is_and_is_not_tried_again(
    router: httpx.Client, replicas: tuple[Replica, Replica], path: str, status: int
) -> None:
    answer = router.get(path)
    assert answer.status_code == status
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("7", "6500")
    assert answer.json()["replica"] in ("one", "two")
    assert sum(replica.asked[path] for replica in replicas) == 1


def shows(answer: httpx.Response, status: int, code: str) -> bool:
    """Whether an error of the router has the shape of the service's own."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert (error.keys(), error["code"]) == ({"message", "type", "param", "code"}, code)
    return True


def test_without_replicas_the_error_says_when_to_come_back(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    for replica in replicas:
        replica.end()
    answer = router.get("/")
    assert shows(answer, 503, "unavailable")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("1", "1000")


def test_a_replica_that_ends_without_an_answer_is_an_error_of_the_services_shape(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    assert shows(router.get("/cut"), 502, "bad_gateway")
    assert sum(replica.asked["/cut"] for replica in replicas) == 1


def test_what_takes_too_long_is_an_error_of_the_services_shape(
    replicas: tuple[Replica, Replica], tmp_path: Path
) -> None:
    text = TEXT.replace("timeout server 150s", "timeout server 200ms")
    with running_router(text, replicas, tmp_path) as router:
        assert shows(router.get("/silent"), 504, "gateway_timeout")


def test_it_says_how_many_replicas_get_new_work(
    router: httpx.Client, replicas: tuple[Replica, Replica]
) -> None:
    eventually(lambda: router.get("/replicas").text == "2\n")
    replicas[0].ready = False
    eventually(lambda: router.get("/replicas").text == "1\n")
    replicas[0].ready = True
    eventually(lambda: router.get("/replicas").text == "2\n")


def test_metrics_of_some_replica_are_not_handed_out(router: httpx.Client) -> None:
    assert shows(router.get("/metrics"), 404, "unknown_url")


def seconds(name: str) -> float:
    (found,) = re.findall(rf"^ +{name} (\d+)s$", TEXT, re.MULTILINE)
    return float(found)


def test_the_router_waits_longer_than_the_longest_answer_takes() -> None:
    longest = Settings.model_fields["request_timeout_seconds"].default
    assert seconds("timeout server") > longest
    assert seconds("timeout client") > longest
    assert seconds("hard-stop-after") > longest
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert compose["services"]["router"]["stop_grace_period"] == f"{seconds('hard-stop-after'):g}s"


def test_a_draining_replica_is_taken_out_before_it_refuses() -> None:
    (interval, fall) = map(int, re.search(r"inter (\d+)ms fall (\d+)", TEXT).groups())  # type: ignore[union-attr]
    assert interval / 1000 * fall < Settings.model_fields["drain_delay_seconds"].default
