"""The report of a campaign, and the inputs that failed as files."""

import datetime
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from app.bench.markdown import number, table
from loadtests.reliability.fuzz.attempt import Site
from loadtests.reliability.fuzz.campaign import Result
from loadtests.reliability.fuzz.neighbours import PROBE_SECONDS, Watched

_SHOWN = 20
_BALANCED = "nothing open, no block held, no engine restarted, no process gone"
_KEYS = ("key", "narrow", "limited")


def save(result: Result, site: Site, directory: Path) -> list[Path]:
    """Write the exact bytes of each input that failed, but for the keys; returns the files, in order.

    Raises:
        OSError: they cannot be written.
    """
    if result.failures:
        directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for failure in result.failures:
        attempt = failure.attempt
        path = directory / f"{result.seed}-{attempt.source}-{attempt.index}.http"
        path.write_bytes(without_keys(attempt.data, site))
        paths.append(path)
    return paths


def without_keys(data: bytes, site: Site) -> bytes:
    """The bytes with a name in place of each key, which ends with its service."""
    for name in _KEYS:
        data = data.replace(getattr(site, name).encode(), b"<%s>" % name.encode())
    return data


def known_keys(data: bytes, site: Site) -> bytes:
    """The bytes with the keys of another service."""
    for name in _KEYS:
        data = data.replace(b"<%s>" % name.encode(), getattr(site, name).encode())
    return data


def render(result: Result, facts: Mapping[str, str], command: str, saved: list[Path]) -> str:
    """The dated page."""
    total = sum(result.inputs.values())
    verdict = "**Something was wrong.**" if result.failed else "**Nothing was wrong.**"
    rows = [
        [source, number(result.inputs[source]), _told(result.statuses.get(source, Counter()))]
        for source in sorted(result.inputs)
    ]
    lines = [
        f"# Bad inputs, {datetime.date.today().isoformat()}\n",
        *[f"- {name}: {value}" for name, value in facts.items()],
        f"\nReproduce: `{command}`\n",
        f"{verdict} {number(total)} inputs in {number(result.seconds)} s, seed {result.seed}; "
        f"{number(result.num_failures)} of them failed.\n",
        table(["source", "inputs", "answers by status, and ends without an answer"], rows),
        "",
        _watched("Good traffic: a greedy answer that must stay the same to the byte", result.good),
        _watched(f"Probes: 200 within {PROBE_SECONDS:g} s", result.probes),
        f"Afterwards: {'; '.join(result.faults) or _BALANCED}.",
    ]
    if result.failures:
        kinds = Counter(fault for failure in result.failures for fault in failure.faults)
        lines += [
            "\nWhat was wrong:\n",
            *(f"- {count} × {kind}" for kind, count in kinds.most_common(_SHOWN)),
        ]
        lines += ["\nThe first of each kind:\n", *_examples(result, saved)]
    return "\n".join(lines)


def _examples(result: Result, saved: list[Path]) -> list[str]:
    shown: dict[str, str] = {}
    for failure, path in zip(result.failures, saved, strict=True):
        attempt = failure.attempt
        for fault in failure.faults:
            shown.setdefault(
                fault,
                f"- {attempt.source} {attempt.index} ({attempt.what[:160]}): {fault}; its bytes: {path}",
            )
    return list(shown.values())[:_SHOWN]


def _told(statuses: Counter[str]) -> str:
    return ", ".join(f"{status}: {number(count)}" for status, count in sorted(statuses.items()))


def _watched(what: str, watched: Watched) -> str:
    found = "; ".join(sorted(set(watched.faults))) or "always"
    return f"{what}: {number(watched.asked)} asked, slowest {number(watched.slowest * 1e3)} ms: {found}."
