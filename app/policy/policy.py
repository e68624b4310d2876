"""Policy: the rules of one service, put to what clients send; and what is said of it when a rule acts."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import ContentFiltered, ReparteeError, UnsupportedParameter
from app.masking.mask import replace
from app.observation import Observation
from app.policy.detectors import Detector, detector_of
from app.policy.guarded_text import GuardedText
from app.policy.judge import Call, Judge
from app.policy.rules import Place, Rule
from app.services.options import GenerationOptions

INLINE_CHARACTERS = 4_000
"""Up to so much text of a request is searched on the event loop; longer text would stall it."""

logger = logging.getLogger(__name__)


class PolicyObserver(Protocol):
    """What is told of rules that act."""

    def policy_acted(self, rule: str, at: str, action: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of a request.

    Attributes:
        param: the request field that it came from.
        maskable: it may be changed; a rule that masks refuses it otherwise.
    """

    text: str
    param: str
    maskable: bool = True


class Policy:
    """The rules in the order of their file.

    Args:
        judge: answers the rules' questions.
        observer: counts what the rules do.
    """

    def __init__(self, rules: Sequence[Rule], judge: Judge, observer: PolicyObserver) -> None:
        self._judge = judge
        self._observer = observer
        self._rules = [(rule, None if rule.question else detector_of(rule)) for rule in rules]
        output = [(rule, detector) for rule, detector in self._rules if rule.looks_at("output")]
        self._text_rules = [(rule, detector) for rule, detector in output if detector]
        asked = [rule for rule, detector in output if not detector]
        self.verdicts = [rule for rule in asked if rule.action != "flag"]
        """Questions about answers, which nobody may see before they are judged."""
        self.reviews = [rule for rule in asked if rule.action == "flag"]
        """Questions about answers that were given."""
        self._hides_output = any(rule.action != "flag" for rule, _ in output)
        self._tasks = set[asyncio.Task[None]]()

    def check_options(self, options: GenerationOptions) -> None:
        """Refuse log-probabilities where rules hide what is said: they, and their alternatives, would tell it.

        Raises:
            UnsupportedParameter: as said.
        """
        if self._hides_output and options.sampling.logprobs is not None:
            raise UnsupportedParameter("logprobs")

    async def admit(
        self, passages: Sequence[Passage], judged: Callable[[Sequence[str]], list[str]], call: Call
    ) -> list[str]:
        """The texts of a request as the model may see them.

        Args:
            judged: what questions are about, made of the texts as the rules before left them.

        Raises:
            ContentFiltered: a rule refuses the request.
            ReparteeError: a rule that fails closed could not be judged.
        """
        texts = [passage.text for passage in passages]
        for rule, detector in self._rules:
            if not rule.looks_at("input"):
                continue
            if detector is not None:
                texts = await self._search(rule, detector, passages, texts, call)
            elif rule.action == "flag":
                self.review(rule, "input", judged(texts), call)
            elif any(await self.judge(rule, "input", judged(texts), call)):
                raise ContentFiltered(call.param)
        return texts

    def guarded_text(self) -> GuardedText:
        """For one answer."""
        return GuardedText(self._text_rules)

    async def judge(self, rule: Rule, at: Place, texts: Sequence[str], call: Call) -> list[bool]:
        """For each text whether the rule acts on it, which is noted.

        Raises:
            ReparteeError: nothing could be judged, and the rule fails closed.
        """
        try:
            found = await self._judge.applies(rule, texts, call)
        except ReparteeError:
            self.note(rule, at, call.observation, "failed")
            if rule.on_failure == "refuse":
                raise
            return [False] * len(texts)
        if any(found):
            self.note(rule, at, call.observation)
        return found

    def review(self, rule: Rule, at: Place, texts: Sequence[str], call: Call) -> None:
        """Judge texts while nobody waits for it; the request's own line may be written before."""
        self._start(self._review(rule, at, list(texts), call))

    async def _review(self, rule: Rule, at: Place, texts: list[str], call: Call) -> None:
        try:
            acts = any(await self._judge.applies(rule, texts, call))
        except ReparteeError:
            self._observer.policy_acted(rule.name, at, "failed")
            return
        if acts:
            self._observer.policy_acted(rule.name, at, rule.action)
            logger.info("policy", extra={"fields": {"policy": [f"{rule.name}:{at}:{rule.action}"]}})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def note(self, rule: Rule, at: Place, observation: Observation, action: str = "") -> None:
        """A rule acted on a request: for the metrics, and for the request's line; once for each request."""
        action = action or rule.action
        said = f"{rule.name}:{at}:{action}"
        if said not in observation.policy:
            observation.policy.append(said)
            self._observer.policy_acted(rule.name, at, action)

    async def _search(
        self, rule: Rule, detector: Detector, passages: Sequence[Passage], texts: list[str], call: Call
    ) -> list[str]:
        def spans() -> list[list[Any]]:
            known = {text: detector.scan(text, "", last=True)[0] for text in set(texts)}
            return [known[text] for text in texts]

        inline = sum(map(len, texts)) <= INLINE_CHARACTERS
        found = spans() if inline else await asyncio.to_thread(spans)
        if not any(found):
            return texts
        self.note(rule, "input", call.observation)
        if rule.action == "flag":
            return texts
        for passage, here in zip(passages, found, strict=True):
            if here and (rule.action == "refuse" or not passage.maskable):
                raise ContentFiltered(passage.param)
        return [replace(text, here) for text, here in zip(texts, found, strict=True)]
