"""Images of Debian's packages under the names that the compose file asks for, so that no registry is asked.

They are other versions than the pinned ones: what is tried is the configuration and how the services find each other.
"""

from pathlib import Path
from typing import NamedTuple

from deploy.image.base import build_debian
from deploy.image.containers import Containers


class StandIn(NamedTuple):
    """One Debian package as an image, with the paths of the official one."""

    package: str
    instructions: str


STAND_INS = {
    "prometheus": StandIn(
        "prometheus",
        "RUN install -d -o nobody -g nogroup /prometheus\n"
        'USER nobody\nENTRYPOINT ["/usr/bin/prometheus", "--web.listen-address=0.0.0.0:9090"]\n',
    ),
    "alertmanager": StandIn(
        "prometheus-alertmanager",
        "RUN install -d -o nobody -g nogroup /alertmanager\n"
        'USER nobody\nENTRYPOINT ["/usr/bin/prometheus-alertmanager"]\n',
    ),
    "router": StandIn(
        "haproxy",
        'USER haproxy\nSTOPSIGNAL SIGUSR1\nENTRYPOINT ["/usr/sbin/haproxy", "-W", "-db", "-f"]\n'
        'CMD ["/usr/local/etc/haproxy/haproxy.cfg"]\n',
    ),
}
"""By service of the compose file. Grafana is in no Debian archive."""


def build_stand_ins(containers: Containers, images: dict[str, str], mounts: list[str], work: Path) -> None:
    """Build the stand-in of each service under its image's name, unless it is there."""
    for service, stand_in in STAND_INS.items():
        image = images[service]
        if not containers.has(image):
            build_debian(
                containers, image, [stand_in.package], mounts, work, instructions=stand_in.instructions
            )
