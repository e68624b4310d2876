"""`python -m deploy.ray` beside other clusters of this machine: files of its own, and ports that nobody else has."""

from pathlib import Path

from loadtests.processes import free_port


def private_environment(folder: Path) -> dict[str, str]:
    """Variables under which a cluster keeps to a folder, whose path must be short: sockets have short names."""
    proxy = folder / "h"
    return {
        "HOME": str(folder),  # Ray keeps the cluster's token there
        "RAY_TMPDIR": str(folder),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{proxy}/c",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{proxy}/s",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{proxy}/m",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": f"{proxy}",
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{proxy}/state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }
