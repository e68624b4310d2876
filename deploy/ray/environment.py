"""What Ray's own processes must find in their environment before they start.

eval "$(python -m deploy.ray.environment)" prepares a shell for `ray start` and `serve deploy`.
"""

import os
import shlex

VARIABLES = {
    # Requests go from HAProxy straight to the replicas. Ray's own proxy costs ten times as much time.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # A session stays with the replica that has its prefix in the cache; requests without one go round. The second
    # line keeps most sessions where they are when a replica comes or goes.
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "hdr(x-session-id)\n    hash-type consistent",
    # The application has no blocking code, so it needs no thread and no queue between it and its sockets.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deploy.ray.request_id:middlewares",
    # HAProxy forgets a replica that ends within a second; so long the replica still accepts what is on its way.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
    # How soon HAProxy sees that a replica says of itself that it cannot serve.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    # A node that is told to end lets its streams end: their whole deadline, and a margin.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "130",
    # Who reaches Ray's ports can run code; with this only who has the cluster's token. By itself `ray start` asks for
    # one only where it finds one; now it does not start without (`ray get-auth-token --generate`).
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Defaults: what the operator sets comes first."""


def set_defaults() -> None:
    """Set what is not set. Ray Serve reads these as it is imported, and its processes inherit them."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    for name, value in VARIABLES.items():
        print(f"export {name}={shlex.quote(os.environ.get(name, value))}")
