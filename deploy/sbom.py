"""The bill of materials of the image's Python packages: `python -m deploy.sbom` writes deploy/sbom.json.

CycloneDX, from requirements/runtime.txt and torch.txt alone, so that the same locks give the same bytes on any machine.
Not in it: what the base image holds, and what a CUDA build of torch brings.
"""

import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from app import __version__
from deploy.locks import pinned

LOCKS = ("runtime.txt", "torch.txt")
OUTPUT = Path(__file__).with_name("sbom.json")


def component(name: str, version: str) -> Component:
    """One package, known by its package URL."""
    url = PackageURL("pypi", name=name, version=version)
    return Component(
        type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=url.to_string()
    )


def bill() -> str:
    """The document: a component for each package of the locks, and which of them needs which.

    A package may be locked in two versions, for different versions of Python.
    """
    packages = [package for lock in LOCKS for package in pinned(lock)]
    parts = [component(package.name, package.version) for package in packages]
    service = Component(
        type=ComponentType.APPLICATION, name="repartee", version=__version__, bom_ref="repartee"
    )
    bom = Bom(
        components=parts, serial_number=uuid5(NAMESPACE_URL, " ".join(str(part.purl) for part in parts))
    )
    bom.metadata.component = service
    bom.metadata.timestamp = None  # type: ignore[assignment]
    both = list(zip(packages, parts, strict=True))
    bom.register_dependency(service, [part for package, part in both if package.direct])
    for part in parts:
        bom.register_dependency(part, [other for package, other in both if part.name in package.needed_by])
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(bill(), encoding="utf-8")
    print(f"wrote {OUTPUT}", file=sys.stderr)
