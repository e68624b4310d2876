"""Text of every script goes in and comes out whole: no U+FFFD that the model did not make."""

import json
import random
import unicodedata
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from loadtests.reliability.fuzz.texts import ODDITIES, of_script, script_names
from tests.service.running_service import MODEL, Service

RANDOM = random.Random(1)
TEXTS = [of_script(script, RANDOM, 12) for script in script_names()] + list(ODDITIES)
FEW = [*RANDOM.sample(TEXTS, 40), "订单 طلب 👩🏽‍🚀 ऑर्डर", "e\u0301"]
CONTROL = {str(token): -100 for token in range(8)}
"""Their text is hidden in an answer, and not in its log-probabilities."""
CHAT: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 24,
    "temperature": 2,
    "seed": 1,
    "ignore_eos": True,
    "logprobs": True,
    "logit_bias": CONTROL,
}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def test_there_are_texts_of_every_script() -> None:
    first = {unicodedata.name(text[0], "").split(" ")[0].split("-")[0] for text in TEXTS}
    assert {"LATIN", "CJK", "ARABIC", "DEVANAGARI", "HANGUL", "ETHIOPIC", "CUNEIFORM", "ADLAM"} <= first
    assert len(script_names()) > 300


def test_every_text_comes_back(client: httpx.Client) -> None:
    for text in TEXTS:
        tokens = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
        back = client.post("/detokenize", json={"tokens": tokens}).json()["prompt"]
        assert unicodedata.normalize("NFC", back) == unicodedata.normalize("NFC", text), ascii(text)


def test_labels_of_every_script_come_back(client: httpx.Client) -> None:
    labels = [text for text in TEXTS if text.isprintable() and text.strip() == text][:200]
    assert len(labels) == 200
    for start in range(0, 200, 8):
        some = labels[start : start + 8]
        answer = client.post("/v1/classify", json={"model": MODEL, "input": "".join(some), "labels": some})
        assert answer.status_code == 200, (answer.text, ascii(some))
        assert sorted(score["label"] for score in answer.json()["data"][0]["scores"]) == sorted(some)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_the_bytes_of_its_tokens(client: httpx.Client, stream: bool) -> None:
    """The log-probabilities tell the bytes: the text is what they spell, with U+FFFD only where they spell none."""
    odd = 0
    for text in FEW:
        body = CHAT | {"messages": [{"role": "user", "content": text}], "stream": stream}
        response = client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        answer, spelled = _streamed(response.text) if stream else _whole(response.json())
        assert answer == spelled.decode("utf-8", "replace"), ascii(text)
        odd += "\ufffd" in answer or not answer.isascii()
    assert odd  # the model was wild enough to say something that is no ASCII


def _whole(answer: dict[str, Any]) -> tuple[str, bytes]:
    (choice,) = answer["choices"]
    return choice["message"]["content"], _bytes(choice["logprobs"])


def _streamed(events: str) -> tuple[str, bytes]:
    lines = [line.removeprefix("data: ") for line in events.split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return text, b"".join(_bytes(choice["logprobs"]) for choice in choices)


def _bytes(logprobs: dict[str, Any] | None) -> bytes:
    return b"".join(bytes(token["bytes"] or ()) for token in (logprobs or {}).get("content") or ())
