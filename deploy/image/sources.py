"""Where this machine gets Debian and Python packages: found at run time, lent to builds, written into no image.

A build sees the machine's own pip configuration, package folders, Debian sources and certificates as read-only
mounts, so that it works behind a mirror or a proxy, and nothing of them is left in a layer.
"""

import ast
import re
import sys
from pathlib import Path

from deploy.image.tools import CommandFailed, run

_SECONDS = 60
_APT_PLACES = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/auth.conf.d",
    "/etc/apt/keyrings",
    "/etc/apt/trusted.gpg.d",
    "/usr/share/keyrings",
)
_CERTIFICATES = Path("/etc/ssl/certs")
_BUNDLE = _CERTIFICATES / "ca-certificates.crt"
_LENT_BUNDLE = "/tmp/certificates.crt"
"""Where apt finds them in a build: its own place is still to be filled by a package there."""


def pip_configuration() -> dict[str, str]:
    """The options of pip that hold here, whatever file or variable they come from, by name."""
    try:
        listed = run([sys.executable, "-m", "pip", "config", "list"], seconds=_SECONDS)
    except CommandFailed:
        return {}
    return parsed_pip_configuration(listed)


def parsed_pip_configuration(listed: str) -> dict[str, str]:
    """The same from what `pip config list` prints: variables win over files, as they do for pip."""
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in ("global", "install", ":env:") and value:
            found[name] = str(ast.literal_eval(value))
    return found


def local_places(options: dict[str, str]) -> list[Path]:
    """The files and folders of this machine that pip's options name."""
    words = [word.removeprefix("file://") for value in options.values() for word in value.split()]
    places = {Path(word) for word in words if word.startswith("/") and Path(word).exists()}
    # `file:///srv/index/simple` refers to files beside it.
    places |= {place.parent for place in places if place.name == "simple"}
    return sorted(place for place in places if not places & set(place.parents))


def debian_mirror() -> str:
    """The first Debian archive that apt knows here, without the security one; else empty: debootstrap's own."""
    texts = [path.read_text(errors="replace") for path in _source_files()]
    addresses = re.findall(r"^(?:deb .*?|URIs: *)(https?://\S+)", "\n".join(texts), re.MULTILINE)
    return next((one for one in addresses if one.rstrip("/").endswith("/debian")), "")


def _source_files() -> list[Path]:
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return [file for file in files if file.is_file()]


def debian_mounts(folder: Path) -> list[str]:
    """The options of `buildah build` that lend apt's sources; the file made for it lies in `folder`."""
    apt_file = folder / "apt.conf"
    apt_file.write_text(_apt_options())
    lent = {str(apt_file): "/etc/apt/apt.conf"} | {
        place: place for place in _APT_PLACES if Path(place).exists()
    }
    if _BUNDLE.exists() and debian_mirror().startswith("https:"):
        lent[str(_BUNDLE)] = _LENT_BUNDLE
    return _volumes(lent)


def python_mounts(folder: Path) -> list[str]:
    """The same with pip's options, folders and certificates, for images that have a store of certificates."""
    options, pip_file = pip_configuration(), folder / "pip.conf"
    pip_file.touch(mode=0o600)  # an index's address may hold a password
    pip_file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    lent = {str(pip_file): "/etc/pip.conf"}
    lent |= {
        str(place): str(place) for place in local_places(options) if not place.is_relative_to(_CERTIFICATES)
    }
    if _CERTIFICATES.exists():
        lent[str(_CERTIFICATES)] = str(_CERTIFICATES)
    return debian_mounts(folder) + _volumes(lent)


def _volumes(lent: dict[str, str]) -> list[str]:
    return [word for source, target in lent.items() for word in ("--volume", f"{source}:{target}:ro")]


def _apt_options() -> str:
    """How apt fetches here (proxies, dates); its hooks and cleaning rules are the image's own affair."""
    try:
        dump = run(["apt-config", "dump"], seconds=_SECONDS)
    except CommandFailed:
        dump = ""
    kept = [line for line in dump.splitlines() if line.startswith(("Acquire::http", "Acquire::Check-"))]
    return "\n".join([*kept, f'Acquire::https::CAInfo "{_LENT_BUNDLE}";', ""])
