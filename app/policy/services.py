"""The services of chat, completions and decisions as they are where there is a policy."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from app.engine.interface import Engine
from app.observation import Observation
from app.policy.guarded_generation import GuardedGeneration
from app.policy.judge import Call
from app.policy.policy import INLINE_CHARACTERS, Passage, Policy
from app.services.chat import ChatService
from app.services.chat_template import Message
from app.services.completions import CompletionService
from app.services.decision_prompts import DecisionPrompts
from app.services.decisions import DecisionService, Judgement, Query
from app.services.generation import Generation
from app.services.options import GenerationOptions
from app.services.prompts import PromptService
from app.services.questions import Label
from app.services.tokenizer import Tokenizer
from app.settings import Settings


class GuardedChatService(ChatService):
    """Every message is searched, whoever is said to have written it; questions are about the conversation."""

    def __init__(self, prompts: PromptService, settings: Settings, policy: Policy) -> None:
        super().__init__(prompts, settings)
        self._policy = policy

    async def start(
        self, messages: Sequence[Message], options: GenerationOptions, observation: Observation
    ) -> Generation:
        """See `ChatService.start`.

        Raises:
            ContentFiltered, UnsupportedParameter, ReparteeError: as `Policy.admit` and `Policy.check_options`.
        """
        self._policy.check_options(options)
        observation.parse = observation.elapsed()
        call = Call(observation, "messages", options.timeout, options.tenant, options.cache_salt)

        def transcript(texts: Sequence[str]) -> list[str]:
            turns = zip(messages, texts, strict=True)
            return ["\n".join(f"{message.role}: {text}" for message, text in turns)]

        passages = [Passage(message.content, "messages") for message in messages]
        texts = await self._policy.admit(passages, transcript, call)
        admitted = [Message(message.role, text) for message, text in zip(messages, texts, strict=True)]
        return GuardedGeneration(await super().start(admitted, options, observation), self._policy, call)


class GuardedCompletionService(CompletionService):
    """Prompts of token ids are searched as the text that they spell; they cannot be masked."""

    def __init__(self, prompts: PromptService, policy: Policy) -> None:
        super().__init__(prompts)
        self._policy = policy

    async def start(
        self, prompts: Sequence[str | list[int]], options: GenerationOptions, observation: Observation
    ) -> Generation:
        """See `CompletionService.start`.

        Raises:
            ContentFiltered, UnsupportedParameter, ReparteeError: as `Policy.admit` and `Policy.check_options`.
        """
        self._policy.check_options(options)
        observation.parse = observation.elapsed()
        call = Call(observation, "prompt", options.timeout, options.tenant, options.cache_salt)
        inline = sum(map(len, prompts)) <= INLINE_CHARACTERS
        passages = self._passages(prompts) if inline else await asyncio.to_thread(self._passages, prompts)
        texts = await self._policy.admit(passages, list, call)
        admitted = [
            text if isinstance(prompt, str) else prompt for prompt, text in zip(prompts, texts, strict=True)
        ]
        return GuardedGeneration(await super().start(admitted, options, observation), self._policy, call)

    def _passages(self, prompts: Sequence[str | list[int]]) -> list[Passage]:
        decode = self._prompts.tokenizer.decode
        return [
            Passage(prompt, "prompt")
            if isinstance(prompt, str)
            else Passage(decode(prompt), "prompt", maskable=False)
            for prompt in prompts
        ]


class GuardedDecisionService(DecisionService):
    """All that goes into a prompt is searched; questions of the policy are about the texts.

    Labels are names of the client's, which it finds again in the answer, and so cannot be masked.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        settings: Settings,
        prompts: DecisionPrompts,
        policy: Policy,
    ) -> None:
        super().__init__(engine, tokenizer, settings, prompts)
        self._policy = policy

    async def judge(
        self,
        queries: Sequence[Query],
        observation: Observation,
        *,
        timeout: float | None = None,
        tenant: str = "",
        cache_salt: str = "",
    ) -> list[Judgement]:
        """See `DecisionService.judge`.

        Raises:
            ContentFiltered, ReparteeError: as `Policy.admit`.
        """
        observation.parse = observation.elapsed()
        call = Call(observation, queries[0].param, timeout, tenant, cache_salt)
        texts = list(dict.fromkeys(Passage(query.text, query.param) for query in queries))
        others = dict.fromkeys(passage for query in queries for passage in _asked(query))
        passages = [*texts, *others]
        admitted = await self._policy.admit(passages, lambda found: list(found[: len(texts)]), call)
        masked: dict[str | None, str] = {
            passage.text: text for passage, text in zip(passages, admitted, strict=True)
        }
        queries = [_masked(query, masked) for query in queries]
        return await super().judge(
            queries, observation, timeout=timeout, tenant=tenant, cache_salt=cache_salt
        )


def _asked(query: Query) -> Iterator[Passage]:
    """What the client wrote of a question; the labels of yes/no questions are the model's own."""
    question, param = query.question, query.question_param
    if question.instructions:
        yield Passage(question.instructions, param)
    named = question.labels if question.form == "choice" else ()
    subject = (question.subject,) if question.subject else ()
    for label in (*named, *subject):
        yield Passage(label.text, param, maskable=False)
    for label in (*question.labels, *subject):
        if label.description:
            yield Passage(label.description, param)


def _masked(query: Query, masked: Mapping[str | None, str]) -> Query:
    """The query with texts in place of what the client wrote."""

    def described(label: Label) -> Label:
        return Label(label.text, masked.get(label.description, label.description))

    question = query.question
    return replace(
        query,
        text=masked[query.text],
        question=replace(
            question,
            instructions=masked.get(question.instructions, question.instructions),
            labels=tuple(map(described, question.labels)),
            subject=described(question.subject) if question.subject else None,
        ),
    )
