"""The programs that building and running images takes."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

DEBIAN_PACKAGES = {
    "debootstrap": "debootstrap",
    "buildah": "buildah",
    "podman": "podman",
    "runc": "runc",
    "catatonit": "catatonit",
    "netavark": "netavark",
    "aardvark-dns": "aardvark-dns",
    "iptables": "iptables",
}
"""Each program with the Debian package that brings it."""
_FOLDERS = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/lib/podman", "/usr/libexec/podman"]
)
"""Debian keeps podman's helpers outside of everybody's PATH."""
_TAIL = 3000


class CommandFailed(Exception):
    """A program ended with another code than 0, or took too long; the message has the end of what it said."""


def missing() -> list[str]:
    """What this machine lacks, as words for the operator; empty where everything is there."""
    lacks = [
        f"{program} (Debian package {package})"
        for program, package in DEBIAN_PACKAGES.items()
        if shutil.which(program, path=_FOLDERS) is None
    ]
    if os.geteuid() != 0:
        lacks.append("the rights of root")
    return lacks


def run(
    command: Sequence[str],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
) -> str:
    """What a program prints on stdout.

    Args:
        seconds: after which it is killed.
        environment: variables beside the current ones.
        text: for its stdin.

    Raises:
        CommandFailed: with its name and the end of its output.
    """
    words = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=os.environ | dict(environment or {}),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"`{words}` did not end within {seconds:g} s") from None
    except OSError as error:
        raise CommandFailed(f"`{words}` cannot be run: {error.strerror}") from error
    if done.returncode:
        raise CommandFailed(
            f"`{words}` ended with code {done.returncode}:\n{(done.stdout + done.stderr).strip()[-_TAIL:]}"
        )
    return done.stdout
