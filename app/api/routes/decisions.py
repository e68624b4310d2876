"""The three shapes of a decision over HTTP: decisions, systemone and classify."""

import secrets
from collections.abc import Callable, Sequence, Sized
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from app.api.deps import ObservationDep, Services, ServicesDep, TenantDep, TimeoutDep
from app.api.disconnect import until_disconnect
from app.api.schemas.classify import ClassifyRequest, ClassifyResponse
from app.api.schemas.decisions import DecisionsRequest, DecisionsResponse, DecisionsUsage
from app.api.schemas.error import ERROR_RESPONSES
from app.api.schemas.systemone import SystemOneRequest, SystemOneResponse, SystemOneUsage
from app.api.strict_json import INLINE_BYTES, StrictJsonRoute
from app.errors import InvalidRequest, UnsupportedParameter
from app.observation import Observation
from app.services import aside
from app.services.decisions import Judgement, Query

router = APIRouter(tags=["decisions"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)

INLINE_SCORES = 500
"""Up to so many are written out on the event loop."""
_Made = TypeVar("_Made")


class DecisionCall:
    """What the three shapes share: the service, its bounds, and the caller's deadline and cache salt."""

    def __init__(
        self,
        request: Request,
        services: Services,
        observation: Observation,
        timeout: float | None,
        tenant: str,
        *,
        large: bool,
    ) -> None:
        self.large = large
        self._request, self._services, self._observation = request, services, observation
        self._timeout, self._tenant = timeout, tenant
        self.service = services.decisions
        self.model = services.settings.served_name

    def check(self, model: str, *, texts: int = 1, questions: int = 1) -> None:
        """Refuse another model, and more texts or questions than one request may hold.

        Raises:
            ModelNotFound, InvalidRequest: as said.
        """
        self._services.check_model(model)
        limits = self._services.settings
        if texts > limits.max_inputs:
            raise InvalidRequest(f"At most {limits.max_inputs} texts fit in one request.", "input")
        if questions > limits.max_questions:
            raise InvalidRequest(f"At most {limits.max_questions} questions fit in one request.", "questions")

    async def judge(self, queries: Sequence[Query], cache_key: str | None = None) -> list[Judgement]:
        """Answer the queries unless the client leaves first."""
        salt = self._tenant if cache_key is None else f"{self._tenant}\0{cache_key}"
        work = self.service.judge(
            queries, self._observation, timeout=self._timeout, tenant=self._tenant, cache_salt=salt
        )
        return await until_disconnect(self._request, work)


async def _beside(large: bool, work: Callable[[], _Made]) -> _Made:
    """What `work` returns: where there is much of it, beside the event loop."""
    return await aside.bodies(work) if large else work()


def _respond(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


async def _call(
    request: Request,
    services: ServicesDep,
    observation: ObservationDep,
    timeout: TimeoutDep,
    tenant: TenantDep,
) -> DecisionCall:
    large = len(await request.body()) > INLINE_BYTES
    return DecisionCall(request, services, observation, timeout, tenant, large=large)


Call = Annotated[DecisionCall, Depends(_call)]


def _places(questions: Sized) -> list[str]:
    """How each question is named to the caller: by its position, since an id is the caller's own text."""
    return [f"questions.{index}" for index in range(len(questions))]


@router.post("/v1/decisions", response_model=DecisionsResponse)
async def decide(body: DecisionsRequest, call: Call) -> Response:
    """Typed questions about one input, each answered with probabilities in one forward pass."""
    call.check(body.model, questions=len(body.questions))

    def ask() -> list[Query]:
        text = body.text
        return [
            Query(question.question(call.service, param), text, question_param=f"{param}.instructions")
            for param, question in zip(_places(body.questions), body.questions, strict=True)
        ]

    def answer() -> Response:
        answers = [
            question.answer(judgement) for question, judgement in zip(body.questions, judgements, strict=True)
        ]
        usage = DecisionsUsage.of(judgements)
        return _respond(DecisionsResponse(model=call.model, answers=answers, usage=usage))

    judgements = await call.judge(await _beside(call.large, ask), body.prompt_cache_key)
    return await _beside(call.large, answer)


@router.post("/v1/systemone", response_model=SystemOneResponse)
async def system_one(body: SystemOneRequest, call: Call) -> Response:
    """Questions about one state, answered under their ids."""
    call.check(body.model, questions=len(body.questions))

    def ask() -> list[Query]:
        text = body.text
        return [
            Query(question.question(call.service, param), text, "state", f"{param}.instructions")
            for param, question in zip(_places(body.questions), body.questions.values(), strict=True)
        ]

    def answer() -> Response:
        answers = {
            name: question.answer(judgement)
            for (name, question), judgement in zip(body.questions.items(), judgements, strict=True)
        }
        tokens = sum(judgement.prompt_tokens for judgement in judgements)
        usage = SystemOneUsage(input_tokens=tokens)
        return _respond(SystemOneResponse(model=call.model, answers=answers, usage=usage))

    judgements = await call.judge(await _beside(call.large, ask))
    return await _beside(call.large, answer)


@router.post("/v1/classify", response_model=ClassifyResponse)
async def classify(body: ClassifyRequest, call: Call) -> Response:
    """One or many texts against one list of labels."""
    texts = body.texts
    call.check(body.model, texts=len(texts))
    if body.task is not None:
        raise UnsupportedParameter("task")
    questions = body.questions(call.service)
    queries = [Query(question, text) for text in texts for question in questions]
    judgements = await call.judge(queries)
    width = len(questions)

    def answer() -> Response:
        data = [
            body.result(index, judgements[index * width : (index + 1) * width]) for index in range(len(texts))
        ]
        return _respond(
            ClassifyResponse(
                id="classify-" + secrets.token_hex(12),
                model=call.model,
                data=data,
                usage=DecisionsUsage.of(judgements),
            )
        )

    return await _beside(len(texts) * len(body.labels) > INLINE_SCORES, answer)
