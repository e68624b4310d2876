"""Two questions to Ray Serve's controller that have no public call in Ray 2.60; the tests hold them to the lock."""

import ipaddress
from dataclasses import dataclass
from typing import Any

import ray

_NAME, _NAMESPACE = "SERVE_CONTROLLER_ACTOR", "serve"


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Where one replica listens by itself.

    Attributes:
        id: as in Ray's logs and dashboard; a replica that replaces another has another.
        address: `host:port`.
    """

    id: str
    address: str


async def http_host() -> str:
    """The address that the replicas and their proxies listen on."""
    host: str = (await _controller().get_http_config.remote()).host
    return host


async def replica_addresses(application: str) -> list[ReplicaAddress]:
    """The replicas of an application that get requests now: what HAProxy is told."""
    host = await http_host()
    groups = await _controller().get_target_groups.remote(application, True)
    return [
        # Replicas that listen on loopback are not where their machine's name for others points.
        ReplicaAddress(
            target.name.rpartition("#")[2], f"{host if _is_loopback(host) else target.ip}:{target.port}"
        )
        for group in groups
        if group.protocol == "HTTP"
        for target in group.targets
    ]


def _controller() -> Any:
    return ray.get_actor(_NAME, _NAMESPACE)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
