"""The application with a policy, over a fake engine and a toy tokenizer."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.api.conftest import MODEL, build_app, toy_tokenizer
from tests.fakes import FakeEngine

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

Build = Callable[..., FastAPI]


@pytest.fixture
def build(tmp_path: Path, engine: FakeEngine) -> Build:
    def made(*rules: str, **settings: object) -> FastAPI:
        path = tmp_path / "policy.toml"
        path.write_text("".join(f"[[rule]]\n{rule}\n" for rule in rules), encoding="utf-8")
        return build_app(engine, policy_file=path, **settings)

    return made


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(script=lambda prompt: toy_tokenizer().encode("Fine."))


async def post(
    app: FastAPI, path: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """Ask; the model's name is put in."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        return await client.post(path, json={"model": MODEL} | fields, headers=headers)


async def chat(
    app: FastAPI, *contents: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """Ask with these messages of a user."""
    messages = [{"role": "user", "content": content} for content in contents]
    return await post(app, CHAT, headers, messages=messages, **fields)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def choices(answer: httpx.Response) -> list[tuple[str, str]]:
    """Text and finish reason of each choice, whole or streamed, of chat or completions."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return [
            (choice["message"]["content"] if "message" in choice else choice["text"], choice["finish_reason"])
            for choice in answer.json()["choices"]
        ]
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data")]
    assert events[-1] == "[DONE]"
    found: dict[int, tuple[str, str]] = {}
    for event in events[:-1]:
        for choice in json.loads(event)["choices"]:
            text, finish = found.get(choice["index"], ("", ""))
            assert not finish, "something came after the end"
            more = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            found[choice["index"]] = text + more, choice["finish_reason"] or ""
    return [found[index] for index in sorted(found)]
