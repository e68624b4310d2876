"""A stand-in for the official Python base image, made from Debian's own packages: no registry is asked."""

import tarfile
from pathlib import Path

from deploy.image import sources
from deploy.image.containers import Containers
from deploy.image.tools import run

DEBIAN = "bookworm"
PYTHON_IMAGE = f"localhost/python:3.11-slim-{DEBIAN}"
_ROOT_IMAGE = f"localhost/{DEBIAN}-minbase:local"
_BOOTSTRAP_SECONDS = 600
_BUILD_SECONDS = 300


def debian_root(cache: Path, work: Path) -> Path:
    """A tar of Debian's smallest root file system: from `cache`, or made in `work` and put there."""
    archive = cache / f"{DEBIAN}-minbase.tar"
    if not archive.exists():
        root = work / "rootfs"
        command = [
            "debootstrap",
            "--variant=minbase",
            DEBIAN,
            str(root),
            *filter(None, [sources.debian_mirror()]),
        ]
        run(command, seconds=_BOOTSTRAP_SECONDS)
        (root / "etc/apt/sources.list").write_text("")  # it names this machine's mirror
        partial = archive.with_suffix(".partial")
        run(["tar", "--directory", str(root), "--create", "--file", str(partial), "."], seconds=120)
        with tarfile.open(partial) as tar:
            assert tar.next() is not None, "an empty root"
        partial.replace(archive)
        run(["rm", "-rf", "--one-file-system", str(root)], seconds=60)
    return archive


def build_base(containers: Containers, mounts: list[str], cache: Path, work: Path) -> bool:
    """Build `PYTHON_IMAGE`; False where it is there already."""
    if containers.has(PYTHON_IMAGE):
        return False
    containers.import_root(debian_root(cache, work), _ROOT_IMAGE)
    build_debian(containers, PYTHON_IMAGE, ["python3", "python3-venv"], mounts, work, base=_ROOT_IMAGE)
    return True


def build_debian(
    containers: Containers,
    image: str,
    packages: list[str],
    mounts: list[str],
    work: Path,
    *,
    base: str = PYTHON_IMAGE,
    instructions: str = "",
) -> None:
    """Build an image of `base` and Debian packages, with further Dockerfile lines after them."""
    containerfile = work / f"{image.rpartition('/')[2].replace(':', '-')}.Dockerfile"
    containerfile.write_text(
        f"FROM {base}\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends "
        f"{' '.join(packages)} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin\n"
        f"{instructions}"
    )
    containers.build(image, *mounts, containerfile=containerfile, context=work, seconds=_BUILD_SECONDS)
