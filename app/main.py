"""create_app: the only wiring of the API process."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from app import __version__
from app.api.admission import AdmissionMiddleware
from app.api.body_limit import BodyLimitMiddleware
from app.api.cors import CrossOriginMiddleware, OwnPagesMiddleware
from app.api.deps import Services
from app.api.error_handlers import install_error_handlers
from app.api.live_keys import LiveKeys, follow_keys_file
from app.api.loop_lag import watch_loop_lag
from app.api.middleware import RequestContextMiddleware
from app.api.openapi import complete_openapi
from app.api.routes import chat, completions, decisions, docs, models, ops, tokenize
from app.api.security import AuthMiddleware
from app.api.strict_json import BODY_RULE
from app.api.trace import SpanMaker, TraceMiddleware, telemetry
from app.engine.interface import Engine
from app.keys import KeyRing
from app.metrics import Metrics
from app.policy.judge import Judge
from app.policy.policy import Policy
from app.policy.rules import Rule, load_rules
from app.policy.services import GuardedChatService, GuardedCompletionService, GuardedDecisionService
from app.services.chat import ChatService
from app.services.completions import CompletionService
from app.services.decision_prompts import load_prompts
from app.services.decisions import DecisionService
from app.services.known_answers import MODEL_FILE, known_answers
from app.services.prompts import PromptService
from app.services.sampling_defaults import load_sampling_defaults
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from app.status_log import tell_status

EXPOSED_HEADERS = (
    *("x-request-id", "x-client-request-id", "retry-after", "retry-after-ms"),
    *("server-timing", "openai-processing-ms", "traceresponse"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    *("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
)
"""What scripts in a page may read of an answer, beside what browsers always show them."""


class ManagedEngine(Engine, Protocol):
    """An engine whose life follows the application's."""

    async def start(self, answers: bytes = b"") -> None:
        """Begin to start with these known answers; returns at once."""

    async def stop(self) -> None:
        """End it and whatever is open."""


def create_app(
    settings: Settings,
    engine: ManagedEngine,
    metrics: Metrics | None = None,
    *,
    spans: SpanMaker | None = None,
    load_tokenizer: Callable[[Path], Tokenizer] = Tokenizer.from_directory,
) -> FastAPI:
    """Build the application; `settings.model` must be a local directory.

    Args:
        spans: makes traces; None makes none.

    Raises:
        FileNotFoundError: the directory has no tokenizer.
        InvalidAnswersFile, InvalidKeysFile, InvalidModelFile, InvalidPolicyFile: a file of the settings or of the
            model is malformed.
        InvalidMetricSettings: without `metrics`, those that the settings ask for cannot be made.
    """
    services = _services(settings, engine, metrics or Metrics.of(settings), load_tokenizer)
    keys = _keys(settings, services.metrics)
    app = FastAPI(
        title="Repartee",
        version=__version__,
        summary="Streaming chat and typed decisions from one causal language model.",
        description=BODY_RULE,
        lifespan=_lifespan(
            settings, engine, services.metrics, keys, answers_of(settings, services.tokenizer)
        ),
        middleware=_middleware(settings, engine, services.metrics, keys, spans),
        telemetry=telemetry(spans),
        separate_input_output_schemas=False,
        docs_url=None,  # the framework's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the client's own Host header
    )
    app.state.services = services
    install_error_handlers(app)
    services.metrics.know_routes(_templates(app))  # the framework's own
    for routes in (chat, completions, decisions, models, tokenize, ops, docs):
        app.include_router(routes.router)
        services.metrics.know_routes(_templates(routes.router))
    complete_openapi(app, keys=keys is not None, metrics_without_key=settings.metrics_without_key)
    return app


def _templates(router: FastAPI | APIRouter) -> Iterator[tuple[str, str]]:
    """Each route's template with each of its methods."""
    for route in router.routes:
        if isinstance(route, Route):
            yield from ((route.path, method) for method in route.methods or ())


def _services(
    settings: Settings, engine: Engine, metrics: Metrics, load_tokenizer: Callable[[Path], Tokenizer]
) -> Services:
    tokenizer = load_tokenizer(Path(settings.model))
    prompts = PromptService(engine, tokenizer, settings)
    forms = load_prompts(settings.model)
    chat, completions = ChatService(prompts, settings), CompletionService(prompts)
    decisions = DecisionService(engine, tokenizer, settings, forms)
    if rules := load_rules(settings, tokenizer):
        metrics.know_policy(_actions(rules))
        policy = Policy(rules, Judge(decisions), metrics)
        chat = GuardedChatService(prompts, settings, policy)
        completions = GuardedCompletionService(prompts, policy)
        decisions = GuardedDecisionService(engine, tokenizer, settings, forms, policy)
    return Services(
        settings=settings,
        engine=engine,
        metrics=metrics,
        tokenizer=tokenizer,
        chat=chat,
        completions=completions,
        decisions=decisions,
        defaults=load_sampling_defaults(settings.model),
        created=int(time.time()),
    )


def _actions(rules: Sequence[Rule]) -> Iterator[tuple[str, str, str]]:
    for rule in rules:
        for at in ("input", "output"):
            if rule.looks_at(at):
                yield from ((rule.name, at, action) for action in rule.actions)


def answers_of(settings: Settings, tokenizer: Tokenizer) -> bytes:
    """The tokens of the answers that the settings name or the model brings; none where nothing is drafted.

    Raises:
        InvalidAnswersFile: the file cannot be used.
    """
    path = settings.answers_file or Path(settings.model) / MODEL_FILE
    wanted = settings.speculation and (settings.answers_file is not None or path.exists())
    return known_answers(path, tokenizer) if wanted else b""


def _keys(settings: Settings, metrics: Metrics) -> LiveKeys | None:
    if not settings.api_keys_file:
        return None
    ring = KeyRing.load(settings.api_keys_file)
    metrics.know_tenants(ring.tenants)
    return LiveKeys(ring)


def _middleware(
    settings: Settings, engine: Engine, metrics: Metrics, keys: LiveKeys | None, spans: SpanMaker | None
) -> list[Middleware]:
    """Outermost first. Browsers send preflights without a key, so CORS comes before the keys."""
    cors = Middleware(
        CrossOriginMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    own_pages = Middleware(OwnPagesMiddleware, allowed=settings.cors_origins)
    return [
        *([Middleware(TraceMiddleware, spans=spans)] if spans else []),
        Middleware(RequestContextMiddleware, metrics=metrics, model=settings.served_name),
        *([cors] if settings.cors_origins else []),
        *([own_pages] if settings.api_keys_file is None and not settings.allow_open else []),
        Middleware(AuthMiddleware, keys=keys, metrics_without_key=settings.metrics_without_key),
        Middleware(AdmissionMiddleware, engine=engine, keeps=False),
        Middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds),
        Middleware(AdmissionMiddleware, engine=engine, keeps=True),
    ]


def _lifespan(
    settings: Settings, engine: ManagedEngine, metrics: Metrics, keys: LiveKeys | None, answers: bytes
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(watch_loop_lag(metrics))
            await stack.enter_async_context(tell_status(metrics, settings.status_log_seconds))
            if keys and settings.api_keys_file:
                following = follow_keys_file(
                    settings.api_keys_file,
                    keys,
                    lambda ring: metrics.know_tenants(ring.tenants),
                    metrics.set_keys_stale,
                )
                await stack.enter_async_context(following)
            await engine.start(answers)
            try:
                yield
            finally:
                await engine.stop()

    return lifespan
