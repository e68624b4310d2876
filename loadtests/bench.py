"""`make bench`: this service beside its peers, on the same weights, prompts and cores, round after round.

python -m loadtests.bench [--rounds 3] [--quick] [--shape 0.5b] [--only NAME ...] [--threads N] [--write]
"""

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from loadtests import gates
from loadtests.http_stream import RequestFailed
from loadtests.machine import machine
from loadtests.plan import Plan
from loadtests.processes import ProcessFailed
from loadtests.report import Results, render
from loadtests.subjects import KV_CACHE_TOKENS, Subject, bare_generate, embedded, ours, transformers_serve

SUBJECTS: dict[str, Subject] = {
    gates.OURS: ours(gap_test=True),
    gates.GENERATE[0]: bare_generate("bfloat16"),
    gates.GENERATE[1]: bare_generate("float32"),
    gates.SERVE[0]: transformers_serve("bfloat16"),
    gates.SERVE[1]: transformers_serve("float32"),
    "ours int8": ours("int8"),
    "ours int4": ours("int4"),
    "ours bnb-nf4": ours("bnb-nf4"),
    "ours bnb-int8": ours("bnb-int8"),
    gates.EMBEDDED: embedded,
}
BENCHMARKS = Path(__file__).parent.parent / "docs" / "benchmarks"


def main(arguments: Sequence[str]) -> int:
    """Run and print; returns 1 where a gate fails."""
    options = _parser().parse_args(arguments)
    from loadtests.random_model import random_model  # torch, which --help does not need

    plan = _plan(
        options, random_model(options.shape, options.dir) if options.dir else random_model(options.shape)
    )
    chosen = {name: subject for name, subject in SUBJECTS.items() if not options.only or name in options.only}
    before = machine()
    results = run(plan, chosen)
    command = shlex.join(["python", "-m", "loadtests.bench", *arguments])
    report = render(
        results, machine=before, command=command, notes=_notes(plan, options.shape), streams=plan.streams
    )
    print(report)
    if options.write:
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        (BENCHMARKS / f"{datetime.date.today().isoformat()}-cpu.md").write_text(report)
    return int(any(gate.verdict == "FAIL" for gate in gates.gates(results.medians, plan.streams)))


def run(plan: Plan, subjects: dict[str, Subject]) -> Results:
    """All rounds; in each, the subjects one after another. One that fails leaves the others alone."""
    results = Results()
    for number in range(plan.rounds):
        for name, measure in subjects.items():
            print(f"round {number + 1} of {plan.rounds}: {name}", file=sys.stderr, flush=True)
            try:
                results.add(name, measure(plan))
            except (ProcessFailed, RequestFailed, OSError) as error:
                results.fail(name, str(error))
    return results


def _plan(options: argparse.Namespace, model: Path) -> Plan:
    plan = Plan(model, options.threads, options.rounds, stream_seconds=options.limit)
    if options.quick:
        return replace(
            plan, rounds=1, prompt_tokens=32, new_tokens=24, streams=4, long_prompt=400, classifications=5
        )
    return plan


def _notes(plan: Plan, shape: str) -> list[str]:
    threads = (
        f"{plan.threads} thread(s) each" if plan.threads else "as many threads as each chooses by itself"
    )
    return [
        f"Random weights of the {shape} shape in bf16; prompts of {plan.prompt_tokens} tokens, {plan.new_tokens} new "
        f"ones, greedy; rounds: {plan.rounds}; one server alive at a time, {threads}. The embedded model answers "
        "chats of a customer instead. `tok/s` counts prefill in, `decode tok/s` only the time in which all streams "
        f"decode. A stream is cut after {plan.stream_seconds:.0f} s and counted as far as it came.",
        "Peers: `transformers serve MODEL --continuous-batching --device cpu`, asked by the same client, and "
        "`model.generate` in a process without HTTP. Both come with `requirements/dev.txt`. This service's KV cache is "
        f"set to {KV_CACHE_TOKENS:,} tokens; `transformers serve` sizes its own by the free memory, which shows in "
        "its RSS.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything runs")
    parser.add_argument("--shape", choices=("tiny", "0.5b"), default="0.5b")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="subjects to run")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("REPARTEE_THREADS", "0")))
    parser.add_argument("--limit", type=float, default=180.0, help="seconds after which a stream is cut")
    parser.add_argument("--dir", type=Path, help="where random models are kept; default: the system's temp")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/DATE-cpu.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
