"""A policy over the real thing: what the model says of itself, with a service without one to compare with."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from app.masking.mask import replace
from app.policy.words import WordList
from tests.service.running_service import MODEL, ROOT, Service, running_service

POLICY = """
[[rule]]
name = "insults"
at = "input"
action = "refuse"
words = ["idiot", "傻瓜"]

[[rule]]
name = "personal"
at = "input"
action = "mask"
personal = true

[[rule]]
name = "lawyers"
at = "input"
action = "flag"
words = ["lawyer"]

[[rule]]
name = "delivery"
at = "input"
action = "refuse"
question = "What does the customer want?"
labels = ["delivery options", "cancel order", "track refund"]
when = ["delivery options"]
threshold = 0.6
least_mass = 0.5

[[rule]]
name = "goods"
at = "output"
action = "mask"
words = ["order"]

[[rule]]
name = "money"
at = "output"
action = "refuse"
words = ["refund"]
"""
CANCEL = "How can I cancel my order?"
REFUND = "I want to know where my refund is."
DELIVERY = "Which delivery options do you have?"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    with running_service(policy_file=str(path)) as running:
        yield running


def whole(service: Service, text: str) -> tuple[str, str, int]:
    """Text, finish reason and completion tokens of a greedy answer."""
    answer = service.openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=80
    )
    (choice,) = answer.choices
    assert answer.usage is not None
    return choice.message.content or "", choice.finish_reason, answer.usage.completion_tokens


def streamed(service: Service, text: str) -> tuple[str, str, int]:
    """The same of a streamed one."""
    parts, finish, tokens = [], "", 0
    for chunk in service.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": text}],
        temperature=0,
        max_tokens=80,
        stream=True,
        stream_options={"include_usage": True},
    ):
        for choice in chunk.choices:
            parts.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    return "".join(parts), finish, tokens


def acted(service: Service, rule: str) -> float:
    return service.sample("repartee_policy_actions_total", rule=rule)


def test_a_masked_answer_is_the_models_but_for_the_words(guarded: Service, service: Service) -> None:
    reference, finish, tokens = whole(service, CANCEL)
    assert "order" in reference
    masked = replace(reference, WordList(["order"], "goods").scan(reference, "", last=True)[0])
    before = acted(guarded, "goods")
    assert whole(guarded, CANCEL) == streamed(guarded, CANCEL) == (masked, finish, tokens)
    assert acted(guarded, "goods") == before + 2


def test_a_refused_answer_ends_before_the_word(guarded: Service, service: Service) -> None:
    reference, _, tokens = whole(service, REFUND)
    assert "refund" in reference
    for text, finish, spent in (whole(guarded, REFUND), streamed(guarded, REFUND)):
        unmasked = text.lower().replace("[goods]", "order")
        assert reference.lower().startswith(unmasked) and "refund" not in unmasked
        assert finish == "content_filter"
        assert 0 < spent <= tokens


@pytest.mark.parametrize("text", ["You idiot!", "你是傻瓜吗"])
def test_a_refused_request_is_what_openais_client_raises(guarded: Service, text: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        streamed(guarded, text)
    assert (caught.value.code, caught.value.param) == ("content_filter", "messages")
    body = {"model": MODEL, "input": text, "labels": ["a", "b"]}
    assert httpx.post(f"{guarded.url}/v1/classify", json=body).json()["error"]["code"] == "content_filter"


def test_a_question_refuses_what_it_is_about(guarded: Service) -> None:
    """The embedded model knows these intents."""
    with pytest.raises(openai.BadRequestError) as caught:
        whole(guarded, DELIVERY)
    assert caught.value.code == "content_filter"
    assert whole(guarded, CANCEL)[1] != "content_filter"
    assert acted(guarded, "delivery") == guarded.sample(
        "repartee_policy_actions_total", rule="delivery", action="refuse"
    )
    assert guarded.sample("repartee_policy_actions_total", rule="delivery", action="failed") == 0


def test_a_masked_prompt_is_another_prompt(guarded: Service, service: Service) -> None:
    """The model answers what it would to the masked text."""
    expected = whole(service, "Cancel it and call me at [phone].")[0]
    assert "refund" not in expected.lower(), "another rule would hide what this test is about"
    masked = replace(expected, WordList(["order"], "goods").scan(expected, "", last=True)[0])
    assert whole(guarded, "Cancel it and call me at 138 1234 5678.")[0] == masked
    assert acted(guarded, "personal") >= 1


def test_a_flag_is_counted(guarded: Service) -> None:
    whole(guarded, "Cancel my order or I call my lawyer")
    assert acted(guarded, "lawyers") == 1


@pytest.mark.parametrize(
    ("command", "code", "where"), [((), 2, "stderr"), (("doctor",), 1, "stdout"), (("config",), 0, "stdout")]
)
def test_a_bad_file_ends_the_start_with_one_line(
    tmp_path: Path, command: tuple[str, ...], code: int, where: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nname = "a"\naction = "burn"\nwords = ["b"]\n')
    environment = {"REPARTEE_POLICY_FILE": str(path), "REPARTEE_PORT": "0", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "app", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code
    lines = [line for line in getattr(done, where).splitlines() if str(path) in line]
    assert len(lines) == 1
    if code:
        assert "REPARTEE_POLICY_FILE: " in lines[0] and "rule.0.action: Input should be" in lines[0]
