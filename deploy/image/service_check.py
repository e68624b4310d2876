"""The image as it should be run: hardened, probed, asked, and stopped while streams are open."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.image.clients import Stream, counted, steady_streams, stream, wait_until_ready
from deploy.image.containers import Containers
from deploy.image.findings import Findings, require
from deploy.image.left_overs import left_overs, told
from deploy.image.sources import pip_configuration
from loadtests.processes import free_port

HARDENED = (
    "--read-only",
    "--tmpfs=/tmp:size=256m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=2g",
    "--pids-limit=512",
)
_READY_SECONDS = 120.0
_STOP_SECONDS = 90
_CLIENTS = 8
_INSIDE = """
import json, os
def writable(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    os.remove(path)
    return True
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "privileges": status["NoNewPrivs"].strip(),
    "pid1": open("/proc/1/cmdline").read(),
    "writable": [path for path in ("/srv", "/tmp", "/cache") if writable(path + "/x")],
}))
"""


def check_content(containers: Containers, image: str, findings: Findings) -> None:
    """Size, layers, and that nothing is in them that only the build needed.

    Raises:
        CheckFailed: something is.
    """
    found = containers.inspect(image, "image")
    layers = json.loads(containers.podman("history", "--format", "json", image))
    large = [f"{layer['size'] / 1e6:.0f}" for layer in layers if layer["size"] > 1e6]
    findings.add(
        "image size, MB", f"{found['Size'] / 1e6:.0f}; its layers above 1 MB, last first: {', '.join(large)}"
    )
    mounted = containers.podman("image", "mount", image).strip()
    try:
        unwanted = left_overs(Path(mounted))
    finally:
        containers.podman("image", "unmount", image)
    require(not unwanted, f"the image holds {unwanted[:5]}")
    history = containers.podman("history", "--no-trunc", image) + json.dumps(found)
    require(
        not (names := told(history, pip_configuration())),
        f"the image tells this machine's pip options {names}",
    )
    findings.add("compilers, installers, tests, this machine's settings in the image", "none")


def check_service(containers: Containers, image: str, revision: str, findings: Findings) -> None:
    """Run it hardened, ask it, and stop it under load.

    Raises:
        CheckFailed, NotReady, CommandFailed: what is not as it should be.
    """
    with hardened(containers, image, "repartee-image-test") as (name, url):
        started = time.monotonic()
        findings.add(
            "`run` to `/readyz`, s", f"{wait_until_ready(f'{url}/readyz', _READY_SECONDS) - started:.1f}"
        )
        inside = json.loads(containers.podman("exec", name, "/opt/venv/bin/python", "-c", _INSIDE))
        pid1 = inside.pop("pid1").split("\0")
        require(inside["uid"] == 10001 and inside["capabilities"] == 0, f"inside the container: {inside}")
        require(
            inside["privileges"] == "1" and pid1[1:3] == ["-m", "app"],
            f"inside the container: {inside}, {pid1}",
        )
        require(inside["writable"] == ["/tmp", "/cache"], f"writable are {inside['writable']}")
        findings.add("uid, capabilities, root file system", "10001, none, read-only")
        told_revision = httpx.get(f"{url}/version", timeout=10).json()["revision"]
        require(told_revision == revision, f"/version tells the revision {told_revision!r}, not {revision!r}")
        containers.podman("healthcheck", "run", name)
        findings.add("`podman healthcheck run`", "healthy")
        first = stream(url)
        require(first.outcome == "whole", f"the first stream was {first.outcome}")
        findings.add("a streamed completion", f"{first.chunks} events, ends with [DONE]")
        _stop_under_load(containers, name, url, findings)


def _stop_under_load(containers: Containers, name: str, url: str, findings: Findings) -> None:
    with steady_streams(url, _CLIENTS) as streams:
        time.sleep(2)
        asked = time.monotonic()
        containers.podman("stop", "--time", str(_STOP_SECONDS), name, seconds=_STOP_SECONDS + 30)
        took = time.monotonic() - asked
    over_the_stop = [one for one in streams if one.began < asked < one.ended]
    code = containers.inspect(name)["State"]["ExitCode"]
    _judge_stop(streams, over_the_stop, code)
    findings.add(f"`stop` under load of {_CLIENTS} clients, s", f"{took:.1f}; exit code {code}")
    findings.add(
        "streams of these clients",
        f"{counted(streams, 'whole')} whole, {counted(streams, 'cut')} cut, {counted(streams, 'refused')} refused; "
        f"{len(over_the_stop)} were open when the stop was asked for",
    )


def _judge_stop(streams: list[Stream], over_the_stop: list[Stream], code: int) -> None:
    require(counted(streams, "cut") == 0, f"{counted(streams, 'cut')} streams were cut by the stop")
    require(len(over_the_stop) > 1, "no streams were open at the stop")
    require(code == 0, f"the container ended with code {code}")


@contextmanager
def hardened(containers: Containers, image: str, name: str) -> Iterator[tuple[str, str]]:
    """A container on a free loopback port, with its name and address; it is removed at the end."""
    port = free_port()
    try:
        containers.podman(
            "run", "--detach", "--name", name, *HARDENED, f"--publish=127.0.0.1:{port}:8000",
            "--env=REPARTEE_ALLOW_OPEN=true", image,
        )  # fmt: skip
        yield name, f"http://127.0.0.1:{port}"
    except Exception as error:
        error.add_note(containers.logs(name))
        raise
    finally:
        containers.podman("rm", "--force", "--ignore", "--time", "5", name)
