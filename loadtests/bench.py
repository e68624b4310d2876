"""`make bench`: this service beside its peers, on the same weights, prompts and cores, round after round.

python -m loadtests.bench [--rounds 3] [--quick] [--shape 0.5b] [--only NAME ...] [--threads N] [--peers DIR] [--write]
                          [--plot DIR]
"""

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.bench import page, plots
from app.bench.http_stream import RequestFailed
from app.settings import EMBEDDED_MODEL
from loadtests import gates, peer_subjects, subjects
from loadtests.bench_plots import streams_pictures
from loadtests.machine import machine
from loadtests.notes import notes, peers_table
from loadtests.peers import NotThere
from loadtests.plan import Plan
from loadtests.processes import ProcessFailed
from loadtests.report import Results, render
from loadtests.subjects import Subject

SUBJECTS: dict[str, Subject] = {
    gates.OURS: subjects.ours(against_peers=True),
    gates.GENERATE[0]: subjects.bare_generate("bfloat16"),
    gates.GENERATE[1]: subjects.bare_generate("float32"),
    gates.SERVE[0]: subjects.transformers_serve("bfloat16"),
    gates.SERVE[1]: subjects.transformers_serve("float32"),
    "ours bnb-nf4": subjects.ours("bnb-nf4"),
    "ours bnb-int8": subjects.ours("bnb-int8"),
    gates.OURS_8: subjects.ours("int8", against_peers=True),
    gates.LLAMA_8: peer_subjects.llama_server("Q8_0"),
    gates.OURS_4: subjects.ours("int4", against_peers=True),
    gates.LLAMA_4: peer_subjects.llama_server("Q4_0"),
    gates.OPENVINO[0]: peer_subjects.openvino("Q8_0"),
    gates.OPENVINO[1]: peer_subjects.openvino("Q4_0"),
    gates.CTRANSLATE2: peer_subjects.ctranslate2,
    gates.ENGINE_8: subjects.engine(None, "int8"),
    gates.EMBEDDED: subjects.embedded,
    gates.EMBEDDED_IDS: subjects.embedded_ids,
    gates.LLAMA_EMBEDDED[0]: peer_subjects.llama_server_embedded("Q8_0"),
    gates.LLAMA_EMBEDDED[1]: peer_subjects.llama_server_embedded("Q4_0"),
    gates.EMBEDDED_ENGINE: subjects.engine(Path(EMBEDDED_MODEL), "auto"),
    gates.LLAMA_BENCH[0]: peer_subjects.llama_bench("Q8_0"),
    gates.LLAMA_BENCH[1]: peer_subjects.llama_bench("Q4_0"),
    gates.DECISIONS: subjects.embedded_decisions,
    gates.SERVE_DECISIONS: subjects.transformers_decisions,
}
GROUPS: dict[str, list[str]] = {
    "Random weights, as PyTorch and bitsandbytes run them": [
        gates.OURS, *gates.GENERATE, *gates.SERVE, "ours bnb-nf4", "ours bnb-int8",
    ],
    "Random weights in 8 and 4 bits": [
        gates.OURS_8, gates.LLAMA_8, gates.OPENVINO[0], gates.CTRANSLATE2, gates.ENGINE_8,
        gates.OURS_4, gates.LLAMA_4, gates.OPENVINO[1],
    ],
    "The embedded model": [
        gates.EMBEDDED, gates.EMBEDDED_IDS, *gates.LLAMA_EMBEDDED, gates.EMBEDDED_ENGINE, *gates.LLAMA_BENCH,
    ],
    "Decisions of the embedded model: one text, one choice among 20 labels": [
        gates.DECISIONS, gates.SERVE_DECISIONS,
    ],
}  # fmt: skip
"""The tables of the report: heading, subjects."""
BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


def main(arguments: Sequence[str]) -> int:
    """Run and print; returns 1 where a gate fails, 2 where plots cannot be made."""
    options = _parser().parse_args(arguments)
    if options.plot:
        try:
            options.plot.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return _refuse(f"{error.filename}: {error.strerror}")
        if not plots.can_plot():
            return _refuse(plots.MISSING)
    from loadtests.random_model import random_model  # torch, which --help does not need

    plan = _plan(
        options, random_model(options.shape, options.dir) if options.dir else random_model(options.shape)
    )
    chosen = {name: subject for name, subject in SUBJECTS.items() if not options.only or name in options.only}
    before = machine()
    results = run(plan, chosen)
    command = shlex.join(["python", "-m", "loadtests.bench", *arguments])
    report = render(
        results,
        groups=GROUPS,
        machine=before,
        command=command,
        notes=notes(plan, options.shape),
        peers=peers_table(plan),
        streams=plan.streams,
    )
    print(report)
    stem = f"{datetime.date.today().isoformat()}-cpu"
    if options.write:
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        (BENCHMARKS / f"{stem}.md").write_text(report)
    if options.plot:
        pictures = streams_pictures(GROUPS, results.samples)
        title, _, rest = report.partition("\n")
        facts = {"date": datetime.date.today().isoformat()}
        written = page.save(options.plot, stem, title.lstrip("# "), facts, pictures, rest)
        print("wrote " + ", ".join(map(str, written)), file=sys.stderr)
    return int(any(gate.verdict == "FAIL" for gate in gates.gates(results.medians, plan.streams)))


def run(plan: Plan, subjects: dict[str, Subject]) -> Results:
    """All rounds; in each, the subjects one after another. One that fails leaves the others alone."""
    results = Results()
    for number in range(plan.rounds):
        for name, measure in subjects.items():
            print(f"round {number + 1} of {plan.rounds}: {name}", file=sys.stderr, flush=True)
            try:
                results.add(name, measure(plan))
            except NotThere:
                results.absent.add(name)
            except (ProcessFailed, RequestFailed, OSError) as error:
                results.fail(name, str(error))
    return results


def _refuse(reason: str) -> int:
    print(f"python -m loadtests.bench: {reason}", file=sys.stderr)
    return 2


def _plan(options: argparse.Namespace, model: Path) -> Plan:
    plan = Plan(model, options.threads, options.rounds, options.peers, stream_seconds=options.limit)
    if options.quick:
        plan = replace(plan, rounds=1, prompt_tokens=32, new_tokens=24, streams=4, prompt_lengths=(32, 64))
        plan = replace(
            plan, first_tokens=1, long_prompt=400, long_prompts=1, disturbed_tokens=440, repetitions=1
        )
        plan = replace(plan, classifications=5, decision_seconds=1.0)
    return plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything runs")
    parser.add_argument("--shape", choices=("tiny", "0.5b"), default="0.5b")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="subjects to run")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("REPARTEE_THREADS", "0")))
    parser.add_argument(
        "--peers",
        type=Path,
        default=os.environ.get("REPARTEE_BENCH_PEERS"),
        help="virtual environment with the peers; default: REPARTEE_BENCH_PEERS",
    )
    parser.add_argument("--limit", type=float, default=180.0, help="seconds after which a stream is cut")
    parser.add_argument("--dir", type=Path, help="where random models are kept; default: the system's temp")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/DATE-cpu.md")
    parser.add_argument(
        "--plot", type=Path, metavar="DIR", help="write pictures and a page; needs matplotlib"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
