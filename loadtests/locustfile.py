"""Locust scenario: streamed chats and classifications, with the time to the first token measured as clients see it.

    locust -f loadtests/locustfile.py --headless -u 8 -r 2 -t 60s --host http://127.0.0.1:8000

`REPARTEE_KEY` holds an API key where the server wants one; raw samples go to the JSON-lines file `SAMPLES`, if it is
set, because locust rounds its own. Only `iter_lines(chunk_size=None)` hands lines on as they arrive.
"""

import json
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from locust import HttpUser, between, tag, task

from loadtests.prompts import LABELS, question

MAX_TOKENS = 64


class Customer(HttpUser):
    """Somebody who chats, and now and then a system that classifies."""

    wait_time = between(0.2, 1.0)

    def on_start(self) -> None:
        """Learn the model's name."""
        key = os.environ.get("REPARTEE_KEY")
        if key:
            self.client.headers["Authorization"] = f"Bearer {key}"
        self.chooser = random.Random()
        self.model = self.client.get("/v1/models").json()["data"][0]["id"]

    @tag("chat")
    @task(3)
    def chat(self) -> None:
        """One streamed answer, whole only with `[DONE]`."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question(self.chooser)}],
            "max_tokens": MAX_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", json=body, stream=True, catch_response=True, name="chat"
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            answer = read_answer(response.iter_lines(chunk_size=None), started)
            # Locust's own clock of a streamed request stops at its headers.
            response.request_meta["response_time"] = (time.perf_counter() - started) * 1e3
            if answer["done"]:
                response.success()
            else:
                response.failure("the stream ended without [DONE]")
        self._report(answer)

    @tag("classify")
    @task(1)
    def classify(self) -> None:
        """One text against twenty labels."""
        body = {"model": self.model, "input": question(self.chooser), "labels": LABELS}
        self.client.post("/v1/classify", json=body, name="classify")

    def _report(self, answer: dict[str, Any]) -> None:
        if answer["ttft"] is not None:
            self.environment.events.request.fire(
                request_type="TTFT",
                name="chat",
                response_time=answer["ttft"] * 1e3,
                response_length=0,
                exception=None,
                context={},
            )
        if path := os.environ.get("SAMPLES"):
            with Path(path).open("a") as file:
                file.write(json.dumps(answer) + "\n")


def read_answer(lines: Iterable[bytes], started: float) -> dict[str, Any]:
    """Seconds to the first text, text gaps, tokens by usage, and whether `[DONE]` came.

    Args:
        started: `time.perf_counter` when the request was sent.
    """
    ttft: float | None = None
    last = started
    gaps: list[float] = []
    tokens, done = 0, False
    for line in lines:
        if not line.startswith(b"data: "):
            continue
        if line == b"data: [DONE]":
            done = True
            continue
        now, chunk = time.perf_counter(), json.loads(line[6:])
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        if not any(choice["delta"].get("content") for choice in chunk.get("choices", [])):
            continue
        if ttft is None:
            ttft = now - started
        else:
            gaps.append(now - last)
        last = now
    return {"ttft": ttft, "gaps": gaps, "tokens": tokens, "done": done}
