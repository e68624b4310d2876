"""The evaluate command: measures a model folder and prints the table of its card."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from workshop import labelled
from workshop.encode import Encoder
from workshop.evaluation import answers
from workshop.evaluation.calibration import auroc, calibration_error, fit_temperature
from workshop.evaluation.choices import Choices, accuracy
from workshop.evaluation.report import Line, as_markdown, as_text
from workshop.tokenizer import load_tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workshop evaluate`."""
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=300, help="rows of each classification test")
    parser.add_argument("--answers", type=int, default=48, help="generated answers of each test")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print a table for the model card")
    parser.add_argument("--fit", action="store_true", help="write the fitted temperature to decisions.json")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; nothing of the model changes unless --fit is given."""
    torch.set_num_threads(arguments.threads)
    started = time.monotonic()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    encoder = Encoder(load_tokenizer(arguments.model))
    form = json.loads((arguments.model / "decisions.json").read_text())
    choices = Choices(model, encoder, arguments.data, arguments.rows)
    temperature = fit_temperature(choices.development()) if arguments.fit else float(form["temperature"])
    lines = [
        *_choices(choices, arguments.data, temperature),
        *_answers(model, encoder, arguments.data, arguments.answers),
    ]
    if arguments.fit:
        form["temperature"] = temperature
        (arguments.model / "decisions.json").write_text(json.dumps(form, indent=2) + "\n")
    print(as_markdown(lines) if arguments.markdown else as_text(lines))
    print(f"\nTemperature {temperature}; {time.monotonic() - started:.0f} s.")


def _choices(choices: Choices, data: Path, temperature: float) -> Iterator[Line]:
    banking = choices.whole(labelled.banking77(data, "test", set()))
    yield Line("Banking77, 77 labels in the prompt", accuracy(banking), len(banking[1]), 0.85)
    source = labelled.clinc150(data, "test", set())
    clinc = choices.whole(source, none=True)
    yield Line("CLINC150, 150 labels and none of these", accuracy(clinc), len(clinc[1]), 0.87)
    outside = choices.outside(source)
    yield Line(
        "CLINC150, out-of-scope AUROC",
        auroc(outside.softmax(-1)[:, -1], clinc[0].softmax(-1)[:, -1]),
        len(outside),
        0.85,
        share=False,
    )
    emotions = choices.whole(labelled.goemotions(data, "test"))
    yield Line("GoEmotions positive / negative / neutral", accuracy(emotions), len(emotions[1]), 0.68)
    support = choices.whole(labelled.bitext_intents(data, "test", set()))
    yield Line("Bitext, 27 support intents", accuracy(support), len(support[1]))
    unseen, rows = choices.unseen()
    yield Line("labels never trained on (Snips), 5-way", unseen, rows, 0.55)
    stable, rows = choices.stable()
    yield Line("same answer under five shuffles of 77 labels", stable, rows, 0.95)
    pooled = [banking, clinc, emotions]
    error = calibration_error(pooled, temperature)
    yield Line(
        "expected calibration error",
        error,
        sum(len(truth) for _, truth in pooled),
        0.05,
        most=True,
        share=False,
    )


def _answers(model: torch.nn.Module, encoder: Encoder, data: Path, rows: int) -> Iterator[Line]:
    value, count = answers.perplexity(model, encoder, data)
    yield Line("perplexity of answers kept out of training", value, count, 3.0, most=True, share=False)
    topic, own, first = answers.on_topic(model, encoder, data, rows)
    yield Line(f"answer about the right intent (judge's own share {100 * own:.0f} %)", topic, len(first), 0.9)
    copied, naming, second = answers.numbers_copied(model, encoder, data, rows)
    yield Line(
        f"fresh order numbers copied exactly (in the {100 * naming:.0f} % of answers that name one)",
        copied,
        len(second),
        0.9,
    )
    facts, third = answers.facts_used(model, encoder, rows)
    yield Line("phone and hours of the system message stated, unseen wordings", facts, len(third), 0.8)
    everything = [*first, *second, *third]
    yield Line(
        "clean, ended within 400 tokens, no loops",
        sum(answer.clean for answer in everything) / len(everything),
        len(everything),
        0.98,
    )
