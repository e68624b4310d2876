"""Builds the image without a registry or a daemon, runs it as it should be run, and says what was found.

It takes root, debootstrap, buildah, podman, runc and their helpers; where they are missing it says so and ends well.
Everything lies in a storage of its own, which is removed at the end, also after a failure or Ctrl-C.
"""

import argparse
import datetime
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

from deploy.image import sources
from deploy.image.base import PYTHON_IMAGE, build_base
from deploy.image.clients import NotReady
from deploy.image.compose_check import check_compose
from deploy.image.containers import Containers, own_storage
from deploy.image.findings import CheckFailed, Findings, require
from deploy.image.kube_check import check_kube
from deploy.image.service_check import check_content, check_service
from deploy.image.tools import CommandFailed, missing
from loadtests.machine import machine

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/repartee:image-test"
CHECKS = ("service", "compose", "kube")
_PAGES = ROOT / "docs/benchmarks"
_BUILD_SECONDS = 1800


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 also where tools are missing, 1 where something is not as it should be."""
    options = _options(arguments)
    if lacks := missing():
        print(f"image test skipped: this machine lacks {', '.join(lacks)}")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    findings = Findings()
    try:
        with (
            _folders(options.cache) as (cache, work),
            own_storage(cache / "storage", keep_images=options.cache is not None) as containers,
        ):
            _test(containers, options.only, cache, work, findings)
    except (CheckFailed, CommandFailed, NotReady, OSError) as error:
        print(
            "\n".join(["image test failed: " + str(error), *getattr(error, "__notes__", [])]), file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("image test interrupted; what it made is removed", file=sys.stderr)
        return 130
    page = findings.page(machine(), _command(options), datetime.date.today())
    print(f"\n{page}")
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")
    return 0


def _test(containers: Containers, only: Sequence[str], cache: Path, work: Path, findings: Findings) -> None:
    debian, python = sources.debian_mounts(work), sources.python_mounts(work)
    started = time.monotonic()
    made = build_base(containers, debian, cache, work)
    findings.add(
        "stand-in of the base image, s", f"{time.monotonic() - started:.0f}" if made else "was there"
    )
    revision = _revision()
    arguments = [*python, f"--build-arg=BASE_IMAGE={PYTHON_IMAGE}", f"--build-arg=REVISION={revision}"]
    started = time.monotonic()
    containers.build(
        IMAGE, *arguments, "--target=cpu",
        containerfile=ROOT / "Dockerfile", context=ROOT, seconds=_BUILD_SECONDS,
    )  # fmt: skip
    findings.add("build of the target `cpu`, s", f"{time.monotonic() - started:.0f}")
    if "service" in only:
        check_content(containers, IMAGE, findings)
        _check_refusal(containers, arguments, findings)
        check_service(containers, IMAGE, revision, findings)
    if "compose" in only:
        check_compose(containers, ROOT, IMAGE, debian, work, findings)
    if "kube" in only:
        check_kube(containers, ROOT, IMAGE, work, findings)


def _check_refusal(containers: Containers, arguments: Sequence[str], findings: Findings) -> None:
    """The target `cuda` of a build of torch without CUDA must not come to be."""
    refusal = ""
    try:
        containers.build(
            "localhost/repartee:cuda-test", *arguments, "--target=cuda",
            containerfile=ROOT / "Dockerfile", context=ROOT, seconds=_BUILD_SECONDS,
        )  # fmt: skip
    except CommandFailed as error:
        refusal = str(error)
    require("has no CUDA" in refusal, f"the target `cuda` was built with torch for processors {refusal}")
    findings.add("target `cuda` with torch for processors", "refused in one line, as it should be")


def _command(options: argparse.Namespace) -> str:
    """The command, without the places of this machine."""
    only = [] if options.only == CHECKS else ["--only", *options.only]
    cache = ["--cache", "DIR"] if options.cache else []
    return " ".join(["python -m deploy.image.image_test", *only, *cache])


def _revision() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else ""


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.image.image_test", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=CHECKS, default=CHECKS, help="which checks; default: all of them"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="keep Debian's root file system and the image layers here, so that the next run is faster",
    )
    parser.add_argument(
        "--out",
        type=Path,
        nargs="?",
        const=_PAGES / f"{datetime.date.today()}-image.md",
        help="write the page, by default under docs/benchmarks",
    )
    return parser.parse_args(arguments)


@contextmanager
def _folders(cache: Path | None) -> Iterator[tuple[Path, Path]]:
    """What may stay, which without `cache` does not, and what never does."""
    with TemporaryDirectory(prefix="repartee-image-") as name:
        work = Path(name) / "work"
        work.mkdir()
        kept = (cache or Path(name) / "cache").resolve()
        kept.mkdir(parents=True, exist_ok=True)
        yield kept, work


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
