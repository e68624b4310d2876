"""docker-compose.yml, unchanged, brought up by podman-compose: the service, what watches it, and two replicas."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml  # type: ignore[import-untyped]

from deploy.image.clients import counted, steady_streams, stream, wait_until_ready
from deploy.image.containers import Containers
from deploy.image.findings import Findings, eventually, require
from deploy.image.stand_ins import build_stand_ins
from deploy.image.tools import CommandFailed, run
from loadtests.processes import free_port

PODMAN_COMPOSE = "podman-compose==1.6.0"
"""In an environment of its own: nothing else here needs it."""
_PROJECT = "repartee-image-test"
_UP_SECONDS = 180.0
_WAIT_SECONDS = 60.0
_SESSIONS = 6
_CLIENTS = 4
_REQUESTS_AFTER_KILL = 20


def check_compose(
    containers: Containers, root: Path, image: str, mounts: list[str], work: Path, findings: Findings
) -> None:
    """Bring the compose file up with stand-ins, look at what each part knows of the others, kill a replica.

    Raises:
        CheckFailed, NotReady, CommandFailed: what is not as it should be.
    """
    file = root / "docker-compose.yml"
    services: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
    images = {name: service["image"] for name, service in services.items()}
    build_stand_ins(containers, images, mounts, work)
    containers.podman("tag", image, images["repartee"])
    with _compose(containers, file, work) as (up, ports):
        asked = time.monotonic()
        up("repartee", "prometheus", "alertmanager")
        service = f"http://127.0.0.1:{ports['SERVICE_PORT']}"
        ready = wait_until_ready(f"{service}/readyz", _UP_SECONDS)
        findings.add("compose: `up` to `/readyz`, s", f"{ready - asked:.1f}")
        prometheus = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        _check_watchers(prometheus, f"http://127.0.0.1:{ports['ALERTMANAGER_PORT']}", findings)
        up("repartee-2", "router", profile="scale")
        router = f"http://127.0.0.1:{ports['ROUTER_PORT']}"
        _check_replicas(containers, up, prometheus, router, findings)


def _check_watchers(prometheus: str, alertmanager: str, findings: Findings) -> None:
    wait_until_ready(f"{prometheus}/-/ready", _WAIT_SECONDS)
    wait_until_ready(f"{alertmanager}/-/ready", _WAIT_SECONDS)
    eventually(lambda: up_targets(prometheus) == {"repartee:8000"}, "Prometheus scrapes the service")
    findings.add("compose: Prometheus", "scrapes repartee:8000, up")
    groups = _asked(prometheus, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    bad = [rule["name"] for rule in rules if rule["health"] == "err"]
    require(bool(rules) and not bad, f"rules: {len(rules)}, with errors: {bad}")
    findings.add("compose: rules", f"{len(rules)} loaded, none with an error")
    eventually(
        lambda: len(_asked(prometheus, "alertmanagers")["activeAlertmanagers"]) == 1, "Alertmanager is found"
    )
    # The watchdog always fires, so it comes through as soon as everything is connected.
    eventually(lambda: "ReparteeWatchdog" in _alerts(alertmanager), "the watchdog reaches Alertmanager")
    findings.add("compose: Alertmanager", "connected; the watchdog's alert has arrived")


def _check_replicas(
    containers: Containers, up: "_Up", prometheus: str, router: str, findings: Findings
) -> None:
    both = {"repartee:8000", "repartee-2:8000"}
    eventually(lambda: up_targets(prometheus) == both, "Prometheus scrapes both replicas")
    findings.add("compose, profile scale: Prometheus", "scrapes both replicas, up")
    wait_until_ready(f"{router}/readyz", _WAIT_SECONDS)
    eventually(lambda: _both_take_turns(containers, router), "the router asks both replicas")
    before = _requests(containers)
    streams = [
        stream(router, headers={"x-session-id": f"s{number % _SESSIONS}"}) for number in range(4 * _SESSIONS)
    ]
    require(
        counted(streams, "whole") == len(streams), f"of {len(streams)} streams through the router some failed"
    )
    shares = _requests(containers) - before
    # Sessions come four times each and stay, so each replica's share is a multiple of four.
    require(all(share % 4 == 0 for share in shares.values()), f"sessions did not stay: {dict(shares)}")
    findings.add(
        "compose, profile scale: router",
        f"{len(streams)} streams of {_SESSIONS} sessions whole; replicas had {' and '.join(map(str, shares.values()))}",
    )
    _check_upgrade(containers, up, router, findings)
    containers.podman("kill", _container(containers, "repartee"))
    after = [stream(router) for _ in range(_REQUESTS_AFTER_KILL)]
    whole = counted(after, "whole")
    require(whole == len(after), f"after a replica was killed {whole} of {len(after)} streams were whole")
    findings.add("compose, profile scale: a replica is killed", f"the next {len(after)} streams are whole")


def _check_upgrade(containers: Containers, up: "_Up", router: str, findings: Findings) -> None:
    """The documented upgrade while clients ask: nothing may be cut, and nothing refused."""
    with steady_streams(router, _CLIENTS) as streams:
        for service in ("repartee-2", "repartee"):
            before = _container(containers, service)
            # podman-compose, unlike Docker, does not see that an image is new, so it is told.
            up("--no-deps", "--force-recreate", service, profile="scale")
            # As `up --wait` of Docker does: the router takes a replica whose name is back for ready, until it asks.
            eventually(partial(_is_healthy, containers, service), f"the new {service} is ready")
            eventually(partial(_replicas_are, router, 2), f"the router gives the new {service} work")
            require(_container(containers, service) != before, f"{service} was not made again")
    lost = len(streams) - counted(streams, "whole")
    require(
        lost == 0 and len(streams) > _CLIENTS, f"{lost} of {len(streams)} streams were lost in an upgrade"
    )
    findings.add(
        "compose, profile scale: the documented upgrade of both replicas, under load",
        f"{len(streams)} streams, all whole",
    )


def _replicas_are(router: str, number: int) -> bool:
    return httpx.get(f"{router}/replicas", timeout=10).text == f"{number}\n"


def _is_healthy(containers: Containers, service: str) -> bool:
    with suppress(CommandFailed):
        containers.podman("healthcheck", "run", _container(containers, service))
        return True
    return False


def _both_take_turns(containers: Containers, router: str) -> bool:
    before = _requests(containers)
    for _ in range(2):
        stream(router)
    return set((_requests(containers) - before).values()) == {1}


def up_targets(prometheus: str) -> set[str]:
    """The instances that the last scrape reached."""
    targets = _asked(prometheus, "targets")["activeTargets"]
    return {target["labels"]["instance"] for target in targets if target["health"] == "up"}


def _requests(containers: Containers) -> Counter[str]:
    """The chat requests that each replica has ended, as its own metrics say."""
    code = (
        "import urllib.request as r; print(sum(float(line.rsplit(' ', 1)[1])"
        " for line in r.urlopen('http://127.0.0.1:8000/metrics').read().decode().splitlines()"
        """ if line.startswith('repartee_requests_total') and 'task="chat"' in line))"""
    )
    counts: Counter[str] = Counter()
    for service in ("repartee", "repartee-2"):
        name = _container(containers, service)
        counts[service] = int(float(containers.podman("exec", name, "/opt/venv/bin/python", "-c", code)))
    return counts


def _container(containers: Containers, service: str) -> str:
    names = containers.podman(
        "ps", "--quiet",
        "--filter", f"label=io.podman.compose.project={_PROJECT}",
        "--filter", f"label=com.docker.compose.service={service}",
    )  # fmt: skip
    require(len(names.split()) == 1, f"no single container of the service {service} runs")
    return names.strip()


def _asked(prometheus: str, path: str) -> Any:
    return httpx.get(f"{prometheus}/api/v1/{path}", timeout=10).json()["data"]


def _alerts(alertmanager: str) -> set[str]:
    alerts = httpx.get(f"{alertmanager}/api/v2/alerts", timeout=10).json()
    return {alert["labels"]["alertname"] for alert in alerts}


class _Up(Protocol):
    def __call__(self, *arguments: str, profile: str = "") -> None: ...


@contextmanager
def _compose(containers: Containers, file: Path, work: Path) -> Iterator[tuple[_Up, Mapping[str, int]]]:
    """A function that brings services up, and the free port of each port variable; all go down at the end."""
    ports = {
        name: free_port()
        for name in ("SERVICE_PORT", "ROUTER_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")
    }
    environment = containers.environment | {name: str(port) for name, port in ports.items()}
    command = [_podman_compose(work), "--file", str(file), "--project-name", _PROJECT]

    def compose(*arguments: str) -> None:
        run([*command, *arguments], seconds=_UP_SECONDS, environment=environment)

    def up(*arguments: str, profile: str = "") -> None:
        profiles = ["--profile", profile] if profile else []
        compose(*profiles, "up", "--detach", "--no-build", *arguments)

    try:
        yield up, ports
    except Exception as error:
        for line in containers.podman("ps", "--all", "--format", "{{.Names}} {{.Status}}").splitlines():
            error.add_note(f"{line}\n{containers.logs(line.split()[0])}")
        raise
    finally:
        with suppress(CommandFailed):
            compose("--profile", "scale", "down", "--volumes", "--timeout", "10")


def _podman_compose(work: Path) -> str:
    """Where it lies: installed already, or now, in an environment in `work`.

    Raises:
        CommandFailed: pip cannot get it.
    """
    if (found := shutil.which("podman-compose")) is not None:
        return found
    environment = work / "podman-compose"
    run([sys.executable, "-m", "venv", str(environment)], seconds=120)
    run([str(environment / "bin/pip"), "install", "--quiet", PODMAN_COMPOSE], seconds=300)
    return str(environment / "bin/podman-compose")
