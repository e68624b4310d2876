"""The figures that a run has to reach, computed from medians."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.cases import first_token_figure

OURS, OURS_8, OURS_4 = "ours bf16", "ours int8", "ours int4"
EMBEDDED = "ours, embedded model"
EMBEDDED_IDS = "ours, embedded model, token ids"
ENGINE_8, EMBEDDED_ENGINE = "our engine int8, no HTTP", "our engine, no HTTP"
DECISIONS = "ours, decisions"
GENERATE = ("generate bf16", "generate fp32")
SERVE = ("transformers serve bf16", "transformers serve fp32")
SERVE_DECISIONS = "transformers serve, decisions"
LLAMA_8, LLAMA_4 = "llama-server Q8_0", "llama-server Q4_0"
OPENVINO = ("OpenVINO GenAI Q8_0, no HTTP", "OpenVINO GenAI Q4_0, no HTTP")
CTRANSLATE2 = "CTranslate2 int8, no HTTP"
LLAMA_EMBEDDED = ("llama-server Q8_0, embedded model", "llama-server Q4_0, embedded model")
LLAMA_BENCH = ("llama-bench Q8_0, no HTTP", "llama-bench Q4_0, no HTTP")
_WHOLE = "tok/s"  # prefill included
_DECODING = "decode tok/s"
_RSS = "RSS MB"
_LENGTHS = (128, 512, 2048)  # of the prompts whose first token is timed

Medians = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Gate:
    """A bound and what was measured against it; `value` is NaN where something was not measured."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        """`pass`, `FAIL` or `not measured`."""
        if math.isnan(self.value):
            return "not measured"
        reached = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "pass" if reached else "FAIL"


def gates(medians: Medians, streams: int) -> list[Gate]:
    """Every gate; a peer counts with the faster of its number formats.

    What holds for decoding holds with prefill too: otherwise a slow prefill could hide behind fast decoding.
    """
    return [*_own_gates(medians, streams), *_peer_gates(medians, streams)]


def _own_gates(medians: Medians, streams: int) -> list[Gate]:
    def of(subject: str, figure: str) -> float:
        return _of(medians, subject, figure)

    def many(figure: str) -> float:
        return of(OURS, f"{streams} x {figure}")

    def served(figure: str) -> float:
        return _best(medians, SERVE, f"{streams} x {figure}")

    one = of(OURS, f"1 x {_DECODING}")
    return [
        Gate(
            "1 stream decoding / bare generate", one / _best(medians, GENERATE, f"1 x {_DECODING}"), 0.9, True
        ),
        Gate(f"{streams} streams decoding / 1 stream", many(_DECODING) / one, 4.0, True),
        Gate(f"{streams} streams / 1 stream", many(_WHOLE) / of(OURS, f"1 x {_WHOLE}"), 4.0, True),
        Gate(
            f"{streams} streams decoding / transformers serve", many(_DECODING) / served(_DECODING), 1.5, True
        ),
        Gate(f"{streams} streams / transformers serve", many(_WHOLE) / served(_WHOLE), 1.5, True),
        Gate("longest gap under long prompts / median step", of(OURS, "gap ratio"), 3.0, False),
        Gate("API process RSS, MB", of(EMBEDDED, "API process RSS MB"), 150.0, False),
        Gate("the same with the random model's vocabulary, MB", of(OURS, "API process RSS MB"), 150.0, False),
        Gate("time to /livez, s", of(EMBEDDED, "livez s"), 2.0, False),
        Gate("the same with the random model, s", of(OURS, "livez s"), 2.0, False),
        Gate("embedded model ready, s", of(EMBEDDED, "ready s"), 15.0, False),
    ]


def _peer_gates(medians: Medians, streams: int) -> list[Gate]:
    """Decoding only: a peer's prefill shows in its TTFT, which has gates of its own."""

    def decoding(subject: str, count: int) -> float:
        return _of(medians, subject, f"{count} x {_DECODING}")

    def against(subject: str, peers: tuple[str, ...], count: int) -> float:
        return decoding(subject, count) / _best(medians, peers, f"{count} x {_DECODING}")

    def first(subject: str, peer: str, length: int) -> float:
        figure = first_token_figure(length)
        return _of(medians, subject, figure) / _of(medians, peer, figure)

    both = 2 * streams
    decided = f"{both} clients, decisions/s"
    at_least = [
        ("4 bits, 1 stream / llama-server Q4_0", against(OURS_4, (LLAMA_4,), 1), 1.5),
        (f"4 bits, {streams} streams / llama-server Q4_0", against(OURS_4, (LLAMA_4,), streams), 3.5),
        (f"4 bits, {both} streams / llama-server Q4_0", against(OURS_4, (LLAMA_4,), both), 3.0),
        (f"4 bits, {streams} streams / OpenVINO GenAI", against(OURS_4, OPENVINO, streams), 1.6),
        (f"4 bits, {both} streams / OpenVINO GenAI", against(OURS_4, OPENVINO, both), 1.6),
        ("8 bits, 1 stream / llama-server Q8_0", against(OURS_8, (LLAMA_8,), 1), 1.35),
        (f"8 bits, {streams} streams / llama-server Q8_0", against(OURS_8, (LLAMA_8,), streams), 3.5),
        ("8 bits, share of memory bandwidth", _of(medians, ENGINE_8, "share of bandwidth"), 0.85),
        ("embedded model, 1 stream / llama-server", against(EMBEDDED_IDS, LLAMA_EMBEDDED, 1), 1.8),
        (f"embedded model, {both} streams / llama-server", against(EMBEDDED_IDS, LLAMA_EMBEDDED, both), 3.0),
        ("embedded model, engine / llama-bench", against(EMBEDDED_ENGINE, LLAMA_BENCH, 1), 3.0),
        (
            f"decisions, {both} clients / transformers serve",
            _of(medians, DECISIONS, decided) / _of(medians, SERVE_DECISIONS, decided),
            10.0,
        ),
    ]
    at_most = [
        *[
            (f"8 bits, TTFT of {n:,} tokens / llama-server Q8_0", first(OURS_8, LLAMA_8, n), 0.35)
            for n in _LENGTHS
        ],
        *[
            (f"4 bits, TTFT of {n:,} tokens / llama-server Q4_0", first(OURS_4, LLAMA_4, n), 0.5)
            for n in _LENGTHS
        ],
        ("4 bits, RSS / llama-server Q4_0", _of(medians, OURS_4, _RSS) / _of(medians, LLAMA_4, _RSS), 1.0),
        ("decision, 1 client, p50 ms", _of(medians, DECISIONS, "decision p50 ms"), 5.0),
        *[
            (f"{subject}, p99 gap under long prompts / median", _of(medians, subject, "p99 gap ratio"), 3.0)
            for subject in (OURS_8, OURS_4, OURS)
        ],
    ]
    return [
        *[Gate(*row, at_least=True) for row in at_least],
        *[Gate(*row, at_least=False) for row in at_most],
    ]


def _of(medians: Medians, subject: str, figure: str) -> float:
    return medians.get(subject, {}).get(figure, math.nan)


def _best(medians: Medians, subjects: tuple[str, ...], figure: str) -> float:
    values = [_of(medians, subject, figure) for subject in subjects]
    return max((value for value in values if not math.isnan(value)), default=math.nan)
