"""Judge: asks the served model a rule's question about texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.observation import Observation
from app.policy.rules import Rule
from app.services.decisions import DecisionService, Judgement, Query
from app.services.questions import Label, Question


@dataclass(frozen=True, slots=True)
class Call:
    """The request on whose behalf the model is asked.

    Attributes:
        param: the field that its text came from.
        timeout: seconds from its arrival to its deadline; None takes the server's default.
        tenant: who asked, and waits for the answer to the question, too.
        cache_salt: of the request, so that no tenant learns from a cache what another wrote.
    """

    observation: Observation
    param: str
    timeout: float | None
    tenant: str
    cache_salt: str


class Judge:
    """Puts questions of rules through the engine's own queue, as decisions like any other."""

    def __init__(self, decisions: DecisionService) -> None:
        self._decisions = decisions

    async def applies(self, rule: Rule, texts: Sequence[str], call: Call) -> list[bool]:
        """For each text whether the rule acts on it; one that says nothing is not judged.

        Raises:
            ReparteeError: the decision service's; nothing is known of any text then.
        """
        question = self._question(rule)
        queries = [Query(question, text, call.param, call.param) for text in texts if text.strip()]
        if not queries:
            return [False] * len(texts)
        # The request's own tokens and stages are what the client asked for, not what the policy did.
        own = Observation(call.observation.request_id, arrived=call.observation.arrived)
        judgements = iter(
            await self._decisions.judge(
                queries, own, timeout=call.timeout, tenant=call.tenant, cache_salt=call.cache_salt
            )
        )
        return [bool(text.strip()) and _acts(rule, question, next(judgements)) for text in texts]

    def _question(self, rule: Rule) -> Question:
        if rule.labels:
            return Question("choice", tuple(map(Label, rule.labels)), rule.question)
        return Question("predicate", self._decisions.yes_no(), rule.question, type="predicate")


def _acts(rule: Rule, question: Question, judgement: Judgement) -> bool:
    when = rule.when or (question.labels[0].text,)
    if judgement.label_mass < rule.least_mass:
        return False
    pairs = zip(question.labels, judgement.probabilities, strict=True)
    return sum(probability for label, probability in pairs if label.text in when) >= rule.threshold
