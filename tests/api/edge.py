"""The edge and the decision and operations routes, around an engine that only scores labels."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.body_limit import BodyLimitMiddleware
from app.api.error_handlers import install_error_handlers
from app.api.live_keys import LiveKeys
from app.api.middleware import RequestContextMiddleware
from app.api.routes import decisions, docs, ops
from app.api.security import AuthMiddleware
from app.errors import ModelNotFound
from app.keys import KeyRing
from app.metrics import Metrics
from app.observation import Observation
from app.services.decision_prompts import DecisionPrompts
from app.services.decisions import DecisionService
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from tests.scoring_engine import ScoringEngine
from tests.toy_tokenizer import toy_directory

MODEL = "toy"
SETTINGS = Settings(model_name=MODEL, max_inputs=3, max_questions=3, max_labels=255)


class RecordingMetrics(Metrics):
    """Metrics that also keep what was observed."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.observations: list[Observation] = []
        self.http_calls: list[tuple[str, str, int]] = []
        self.rejections: list[tuple[str, str]] = []

    def observe_request(self, observation: Observation) -> None:
        self.observations.append(observation)
        super().observe_request(observation)

    def http(self, route: str, method: str, status: int) -> None:
        self.http_calls.append((route, method, status))
        super().http(route, method, status)

    def rejected(self, task: Any, reason: str) -> None:
        self.rejections.append((task, reason))
        super().rejected(task, reason)


def build(
    engine: ScoringEngine,
    metrics: Metrics,
    *,
    keys: KeyRing | None = None,
    max_bytes: int = 1 << 20,
    seconds: float = 15.0,
    extend: Callable[[FastAPI], None] = lambda app: None,
) -> ASGIApp:
    """The application as the service wires it, with the routes under test."""
    app = FastAPI(docs_url=None, redoc_url=None)
    service = DecisionService(engine, Tokenizer.from_directory(toy_directory()), SETTINGS, DecisionPrompts())

    def check_model(name: str) -> None:
        if name != MODEL:
            raise ModelNotFound

    app.state.services = SimpleNamespace(
        settings=SETTINGS, engine=engine, metrics=metrics, decisions=service, check_model=check_model
    )
    install_error_handlers(app)
    app.include_router(decisions.router)
    app.include_router(ops.router)
    app.include_router(docs.router)
    extend(app)
    limited = BodyLimitMiddleware(app, max_bytes=max_bytes, seconds=seconds)
    return RequestContextMiddleware(
        AuthMiddleware(limited, keys=LiveKeys(keys) if keys else None), metrics=metrics, model=MODEL
    )


def client(app: ASGIApp) -> httpx.AsyncClient:
    """An HTTP client in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
