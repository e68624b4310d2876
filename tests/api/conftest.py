"""The application over a fake engine and a toy tokenizer."""

from collections.abc import AsyncIterator, Callable
from functools import cache

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from tests.fakes import FakeEngine
from tests.toy_tokenizer import toy_directory

MODEL = "toy"


@cache
def toy_tokenizer() -> Tokenizer:
    return Tokenizer.from_directory(toy_directory())


def build_app(engine: FakeEngine, **changes: object) -> FastAPI:
    """The application with settings of a test."""
    settings = Settings(model=str(toy_directory()), model_name=MODEL, **changes)  # type: ignore[arg-type]
    return create_app(settings, engine, load_tokenizer=lambda path: toy_tokenizer())


def saying(text: str) -> Callable[[list[int]], list[int]]:
    """A script that answers every prompt with this text."""
    return lambda prompt: toy_tokenizer().encode(text)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return toy_tokenizer()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(script=saying("Hello, wörld 👋🏽!"))


@pytest.fixture
def app(engine: FakeEngine) -> FastAPI:
    return build_app(engine)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
        yield client
