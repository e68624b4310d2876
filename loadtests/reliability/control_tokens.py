"""Whether bytes of a client ever become a control token: fuzzed strings through the real paths of every prompt.

python -m loadtests.reliability.control_tokens [--strings 100000] [--seed N] [--write]

Each string goes into a conversation (split over messages and roles), a completion, and a decision (text, instructions,
labels and what they mean). The control ids of the prompt must be those of the template with harmless contents, and the
text between them must come back. The embedded model's tokenizer is tried as it is, with a normalizer that turns
look-alikes into control tokens, and with control tokens that take in the spaces beside them. Exit code 1: one became
a control token, or was not the same afterwards, or more than half were refused somewhere.
"""

import argparse
import asyncio
import datetime
import json
import random
import secrets
import shlex
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from app.bench.markdown import number, table
from app.bench.options import positive
from app.engine.admission import Work
from app.engine.interface import EngineState
from app.engine.messages import Ready
from app.engine.stream import RequestStream
from app.errors import InvalidRequest, Starting
from app.observation import Observation, Task
from app.services.chat import ChatService
from app.services.chat_template import Message, Role
from app.services.completions import CompletionService
from app.services.decision_prompts import DecisionPrompts, load_prompts
from app.services.decisions import DecisionService, Query, turn_end
from app.services.options import GenerationOptions
from app.services.prompts import PromptService
from app.services.questions import Label, Question, checked_labels
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.reliability.fuzz.texts import CONTROL, JOINERS, text

EXIT_FOUND = 1
MOST_REFUSED = 0.5
"""Share of the strings that may be refused in any place of a prompt: those never get to where they could do harm."""
EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "repartee-support"
ROLES = get_args(Role)
_SHOWN = 10
Form = Literal["NFC", "NFKC"]
FORMS: tuple[Literal["choice", "predicate", "multi_label"], ...] = ("choice", "predicate", "multi_label")


class RecordingEngine:
    """Notes what it is asked, and says that it is still starting: nothing is computed."""

    state = EngineState.READY
    making_progress = True
    info: Ready | None = None

    def __init__(self) -> None:
        self.prompt: list[int] = []
        self.labels: list[list[int]] = []

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        """A place for everyone."""
        return lambda: None

    def admit(self, work: Work) -> None:
        """Everyone."""

    def submit(
        self, prompt: list[int], *, labels: list[list[int]] | None = None, **options: Any
    ) -> RequestStream:
        """Note the ids.

        Raises:
            Starting: always.
        """
        self.prompt, self.labels = prompt, labels or []
        raise Starting


@dataclass(frozen=True)
class Variant:
    """A tokenizer, and how text comes back from it; None where spaces beside control tokens are lost."""

    name: str
    directory: Path
    form: Form | None = "NFC"


class Subject:
    """The services around one tokenizer."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.tokenizer = Tokenizer.from_directory(variant.directory)
        self.engine = RecordingEngine()
        settings = Settings(model=str(EMBEDDED))
        prompts = PromptService(self.engine, self.tokenizer, settings)
        self.chat, self.completions = ChatService(prompts, settings), CompletionService(prompts)
        forms = load_prompts(str(EMBEDDED))
        self.forms = (forms, DecisionPrompts())
        self.decisions = [DecisionService(self.engine, self.tokenizer, settings, form) for form in self.forms]
        self.turn_end = turn_end(self.tokenizer)

    async def prompt_of_chat(self, messages: Sequence[Message]) -> list[int]:
        """What the engine gets of a conversation."""
        return await self._submitted(self.chat.start(messages, GenerationOptions(), Observation("req")))

    async def prompt_of_completion(self, prompt: str) -> list[int]:
        """What it gets of a text."""
        return await self._submitted(
            self.completions.start([prompt], GenerationOptions(), Observation("req"))
        )

    async def prompt_of_decision(self, form: int, query: Query) -> tuple[list[int], list[list[int]]]:
        """What it gets of a question: prompt and labels."""
        prompt = await self._submitted(self.decisions[form].judge([query], Observation("req")))
        return prompt, self.engine.labels

    async def _submitted(self, work: Any) -> list[int]:
        self.engine.prompt, self.engine.labels = [], []
        try:
            await work
        except Starting:
            return self.engine.prompt
        raise AssertionError("nothing was submitted")

    def faults_of_prompt(self, ids: Sequence[int], messages: Sequence[Message]) -> list[str]:
        """What is wrong with a prompt of these messages."""
        harmless = self.tokenizer.encode_prompt([Message(message.role, "a") for message in messages])
        faults = []
        if self._control(ids) != self._control(harmless):
            faults.append("control ids that are not the template's")
        elif self.variant.form:
            told = list(self._between(ids))[
                : 2 * len(messages)
            ]  # the template writes a line end behind each turn
            meant = [part for message in messages for part in (self._turn(message), "\n")]
            if [self._same(part) for part in told] != [self._same(part) for part in meant]:
                faults.append("another text in the prompt")
        return faults

    def faults_of_text(self, ids: Sequence[int], written: str) -> list[str]:
        """What is wrong with the ids of a text alone."""
        if self._control(ids):
            return ["control ids in plain text"]
        form = self.variant.form
        changed = form is not None and self._same(self.tokenizer.decode(ids)) != self._same(written)
        return ["another text"] if changed else []

    def _turn(self, message: Message) -> str:
        """A turn as the embedded template writes it, which knows no developer."""
        return f"{message.role.replace('developer', 'system')}\n{message.content}"

    def _control(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self.tokenizer.special_ids]

    def _between(self, ids: Sequence[int]) -> Iterator[str]:
        part: list[int] = []
        for token in [*ids, None]:
            if token is None or token in self.tokenizer.special_ids:
                if part:
                    yield self.tokenizer.decode(part)
                part = []
            else:
                part.append(token)

    def _same(self, written: str) -> str:
        return unicodedata.normalize(self.variant.form or "NFC", written)


@dataclass
class Found:
    """What was tried, and what was wrong with it.

    Attributes:
        strings: by tokenizer.
        refused: by what they were to be a part of.
    """

    seed: int
    strings: Counter[str] = field(default_factory=Counter)
    prompts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def untried(self) -> list[str]:
        """Where more strings were refused than may be."""
        return [place for place in _PLACES if self.refused[place] > MOST_REFUSED * self.strings.total()]


def variants(directory: Path) -> list[Variant]:
    """The embedded model's tokenizer, and two that are easier to deceive, written below the directory."""
    return [
        Variant("as it is", EMBEDDED),
        _changed(directory / "compatible", "a compatibility normalizer", "NFKC"),
        _changed(directory / "greedy", "control tokens that take in spaces", None),
    ]


def _changed(directory: Path, name: str, form: Form | None) -> Variant:
    directory.mkdir()
    for path in EMBEDDED.glob("*.json*"):
        if path.name in ("tokenizer_config.json", "generation_config.json"):
            (directory / path.name).write_bytes(path.read_bytes())
    (directory / "chat_template.jinja").write_bytes((EMBEDDED / "chat_template.jinja").read_bytes())
    content = json.loads((EMBEDDED / "tokenizer.json").read_text("utf-8"))
    if form == "NFKC":
        content["normalizer"] = {"type": "NFKC"}
    for token in content["added_tokens"]:
        token |= {"normalized": form == "NFKC", "lstrip": form is None, "rstrip": form is None}
    (directory / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    return Variant(name, directory, form)


def hostile(random_: random.Random) -> str:
    """A string that would like to be a control token."""
    word = random_.choice(CONTROL)
    match random_.randrange(5):
        case 0:
            return word + text(random_)
        case 1:
            return text(random_) + word
        case 2:
            place = random_.randint(0, len(word))
            return word[:place] + random_.choice(CONTROL) + word[place:]
        case 3:
            return "".join(one + random_.choice(("", "", *JOINERS)) for one in word)
    return text(random_, 12)


async def search(subjects: Sequence[Subject], seed: int, strings: int) -> Found:
    """Try so many strings, each on one of the tokenizers."""
    found = Found(seed)
    began = time.monotonic()
    for index in range(strings):
        random_ = random.Random(f"{seed}/control/{index}")
        subject = subjects[index % len(subjects)]
        written = hostile(random_)
        found.strings[subject.variant.name] += 1
        for place, one in _PLACES.items():
            try:
                faults = await one(subject, written, random_)
                found.prompts += 1
            except InvalidRequest:
                found.refused[place] += 1
                continue
            found.faults += [
                f"{fault} ({subject.variant.name}, string {index}): {written!a}" for fault in faults
            ]
    found.seconds = time.monotonic() - began
    return found


async def _try_chat(subject: Subject, written: str, random_: random.Random) -> list[str]:
    places = sorted(random_.randint(0, len(written)) for _ in range(random_.choice((0, 0, 1, 2, 4))))
    parts = [written[a:b] for a, b in zip([0, *places], [*places, len(written)], strict=True)]
    messages = [Message(random_.choice(ROLES), part) for part in parts]
    return subject.faults_of_prompt(await subject.prompt_of_chat(messages), messages)


async def _try_completion(subject: Subject, written: str, random_: random.Random) -> list[str]:
    return subject.faults_of_text(await subject.prompt_of_completion(written), written)


async def _try_decision(subject: Subject, written: str, random_: random.Random) -> list[str]:
    place = random_.randint(0, len(written))
    head, tail = written[:place] or "a", written[place:] or "b"
    labels = checked_labels(
        [Label(head[:128], random_.choice((None, tail))), Label(f"x{tail}"[:128], written)],
        "labels",
        least=2,
        most=9,
    )
    form = random_.choice(FORMS)
    question = Question(form, labels, random_.choice((None, written, head)), labels[0])
    number_ = random_.randrange(len(subject.forms))
    query = Query(question, random_.choice((written, tail)))
    ids, label_ids = await subject.prompt_of_decision(number_, query)
    faults = subject.faults_of_prompt(ids, subject.forms[number_].messages(question, query.text))
    for label, encoded in zip(labels, label_ids, strict=True):
        if encoded[-1] != subject.turn_end:
            faults.append("a label without its end")
        faults += subject.faults_of_text(encoded[:-1], label.text)
    return faults


_PLACES = {"conversations": _try_chat, "completions": _try_completion, "decisions": _try_decision}


def render(found: Found, facts: Mapping[str, str], command: str) -> str:
    """The dated page."""
    verdict = (
        f"**{number(len(found.faults))} times something was wrong.**"
        if found.faults
        else "**0 control ids from user bytes.**"
    )
    refused = ", ".join(f"{number(found.refused[place])} of {place}" for place in _PLACES)
    lines = [
        f"# Control tokens, {datetime.date.today().isoformat()}\n",
        *[f"- {name}: {value}" for name, value in facts.items()],
        f"\nReproduce: `{command}`\n",
        f"{verdict} {number(found.strings.total())} strings, seed {found.seed}, in {number(found.seconds)} s: "
        f"{number(found.prompts)} prompts of conversations, completions and decisions, whose control ids must be the "
        f"template's and whose text must come back; refused with a 400 were {refused}.\n",
        *[f"**Most strings were refused, and so not tried: {', '.join(found.untried)}.**\n"][
            : bool(found.untried)
        ],
        table(["tokenizer", "strings"], [[name, number(count)] for name, count in found.strings.items()]),
        "\nWhere control tokens take in spaces, the text between them is not compared.",
        *(["\nWrong:\n", *(f"- {fault}" for fault in found.faults[:_SHOWN])] if found.faults else []),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run, print, write; returns the exit code (1: a string was wrong, or too many were refused)."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.control_tokens", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--strings", type=positive(int, 10_000_000), default=100_000, help="default: 100000")
    parser.add_argument("--seed", type=int, help="of all strings; default: drawn, and printed")
    dated_page.add_option(parser, "control-tokens")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    before = machine()
    with TemporaryDirectory(prefix="repartee-control-") as directory:
        subjects = [Subject(variant) for variant in variants(Path(directory))]
        found = asyncio.run(search(subjects, seed, options.strings))
    shown = [
        "python",
        "-m",
        "loadtests.reliability.control_tokens",
        "--strings",
        str(options.strings),
        "--seed",
        str(seed),
    ]
    report = render(found, before, shlex.join(shown))
    dated_page.publish("control-tokens", report, write=options.write)
    return EXIT_FOUND if found.faults or found.untried else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
