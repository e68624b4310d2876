"""podman and buildah over a storage of their own: nothing of the user's containers, images or networks is touched."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.image.tools import CommandFailed, run

_SECONDS = 120.0


class Containers:
    """One storage.

    Attributes:
        environment: the variables that point podman, buildah and podman-compose to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        settings = {"storage.conf": _storage(folder), "containers.conf": _engine(folder)}
        for name, text in settings.items():
            (folder / name).write_text(text)
        self.environment = {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "tmp").mkdir(exist_ok=True)

    def podman(self, *arguments: str, seconds: float = _SECONDS, text: str | None = None) -> str:
        """What a podman command prints.

        Raises:
            CommandFailed: it failed.
        """
        return run(["podman", *arguments], seconds=seconds, environment=self.environment, text=text)

    def build(
        self,
        image: str,
        *arguments: str,
        containerfile: Path,
        context: Path,
        seconds: float,
    ) -> None:
        """Build an image; layers that are there already are taken again.

        Raises:
            CommandFailed: with the end of the build's output.
        """
        # --format docker: the other format has no HEALTHCHECK.
        command = [
            "buildah",
            "build",
            "--isolation",
            "chroot",
            "--pull-never",
            "--format",
            "docker",
            "--layers",
        ]
        command += [*arguments, "--tag", image, "--file", str(containerfile), str(context)]
        run(command, seconds=seconds, environment=self.environment)

    def import_root(self, archive: Path, image: str) -> None:
        """An image of one layer from a tar of a root file system."""
        self.podman("import", str(archive), image, seconds=300)

    def has(self, image: str) -> bool:
        """Whether the storage holds an image."""
        with suppress(CommandFailed):
            self.podman("image", "exists", image)
            return True
        return False

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """What podman knows of a container or an image."""
        found: list[dict[str, Any]] = json.loads(self.podman("inspect", "--type", kind, name))
        return found[0]

    def logs(self, name: str) -> str:
        """The end of what a container said; empty where there is none."""
        try:
            return run(
                ["sh", "-c", 'podman logs --tail 30 "$1" 2>&1', "sh", name],
                seconds=30,
                environment=self.environment,
            )
        except CommandFailed:
            return ""

    def clear(self, *, images: bool) -> None:
        """Remove every container, pod, network and volume of this storage, and its images where asked."""
        commands = [
            ["podman", "pod", "rm", "--force", "--all", "--time", "5"],
            ["podman", "rm", "--force", "--all", "--time", "5"],
            ["podman", "network", "prune", "--force"],
            ["podman", "volume", "prune", "--force"],
            ["podman", "image", "unmount", "--all", "--force"],
            ["buildah", "rm", "--all"],  # those of builds that failed
        ]
        if images:
            commands.append(["podman", "rmi", "--force", "--all"])
        for command in commands:
            with suppress(CommandFailed):
                run(command, seconds=_SECONDS, environment=self.environment)


@contextmanager
def own_storage(folder: Path, *, keep_images: bool) -> Iterator[Containers]:
    """A storage in `folder`, cleared of all that was made in it at the end, also after a failure or Ctrl-C."""
    folder.mkdir(parents=True, exist_ok=True)
    containers = Containers(folder)
    try:
        yield containers
    finally:
        containers.clear(images=not keep_images)
        if not keep_images:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the storage with the mounts that podman leaves on it."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
        with suppress(CommandFailed):
            run(["umount", "--lazy", place], seconds=30)
    shutil.rmtree(folder, ignore_errors=True)


def _storage(folder: Path) -> str:
    return f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'


def _engine(folder: Path) -> str:
    # runc with the plain cgroup manager and limits below the usual ones also runs where this is a container itself.
    return f"""\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/run/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
