"""Rules on what clients send: refused, masked or flagged before the model sees it, on every endpoint that asks it."""

from typing import Any

import pytest

from app.errors import Overloaded
from app.observation import Observation
from app.services.chat import ChatService
from app.services.chat_template import Message
from app.services.completions import CompletionService
from app.services.decisions import DecisionService, Query
from app.services.options import GenerationOptions
from app.services.questions import Question
from tests.api.conftest import build_app, toy_tokenizer
from tests.exposition import value
from tests.fakes import FakeEngine
from tests.policy.conftest import COMPLETIONS, Build, chat, choices, post, until

pytestmark = pytest.mark.anyio

REFUSE = 'name = "insults"\nat = "input"\naction = "refuse"\nwords = ["idiot", "傻瓜"]'
MASK = 'name = "personal"\nat = "input"\naction = "mask"\npersonal = true'
FLAG = 'name = "lawyers"\nat = "input"\naction = "flag"\nwords = ["lawyer"]'
ASK = 'name = "rude"\nat = "input"\naction = "refuse"\nquestion = "Is it rude?"'
PHONE = "call 138 1234 5678"

QUESTION = {"type": "predicate", "instructions": "Angry?"}
DECISIONS: dict[str, Any] = {"input": "hello", "questions": [QUESTION]}
SYSTEMONE: dict[str, Any] = {"state": "hello", "questions": {"a": {"type": "noul", "instructions": "Angry?"}}}
CLASSIFY: dict[str, Any] = {"input": ["hello"], "labels": ["alpha", "beta"]}


def prompts(engine: FakeEngine) -> list[str]:
    return [toy_tokenizer().decode(request.prompt) for request in engine.submitted]


def saying_yes(engine: FakeEngine, to: str) -> None:
    """The model says yes to every question about a text with these words, and no to the others."""
    engine.scores = lambda prompt, labels: (
        [-0.1, -5.0] if to in toy_tokenizer().decode(prompt) else [-5.0, -0.1]
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["You IDIOT!", "你是傻瓜吗"])
async def test_a_refused_chat_is_an_error_that_reaches_no_model(
    build: Build, engine: FakeEngine, text: str, stream: bool
) -> None:
    app = build(REFUSE)
    answer = await chat(app, text, "And now?", stream=stream)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (
        "content_filter",
        "messages",
        "invalid_request_error",
    )
    assert engine.submitted == []
    metrics = app.state.services.metrics
    assert value(metrics, "policy_actions_total", rule="insults", at="input", action="refuse") == 1


async def test_what_no_rule_is_about_goes_through(build: Build, engine: FakeEngine) -> None:
    app = build(REFUSE, MASK, FLAG)
    assert choices(await chat(app, "What an idiotic day, 48213 times")) == [("Fine.", "stop")]
    assert "What an idiotic day, 48213 times" in prompts(engine)[0]
    for rule, action in (("insults", "refuse"), ("personal", "mask"), ("lawyers", "flag")):
        labels = {"rule": rule, "at": "input", "action": action}
        assert value(app.state.services.metrics, "policy_actions_total", **labels) == 0


async def test_a_masked_chat_reaches_the_model_without(build: Build, engine: FakeEngine) -> None:
    app = build(MASK)
    answer = await chat(app, PHONE, "a.b@example.com please")
    assert choices(answer) == [("Fine.", "stop")]
    (prompt,) = prompts(engine)
    assert "call [phone]" in prompt and "[email] please" in prompt
    assert "138" not in prompt and "@" not in prompt
    assert answer.json()["usage"]["prompt_tokens"] == len(engine.submitted[0].prompt)
    metrics = app.state.services.metrics
    assert value(metrics, "policy_actions_total", rule="personal", at="input", action="mask") == 1


async def test_a_flag_changes_nothing_and_is_counted_once_a_request(build: Build, engine: FakeEngine) -> None:
    app = build(FLAG)
    assert choices(await chat(app, "My lawyer", "Your lawyer")) == [("Fine.", "stop")]
    assert "My lawyer" in prompts(engine)[0]
    metrics = app.state.services.metrics
    assert value(metrics, "policy_actions_total", rule="lawyers", at="input", action="flag") == 1


async def test_rules_follow_each_other(build: Build, engine: FakeEngine) -> None:
    """What a rule masks is not there for those behind it."""
    app = build('name = "mask"\naction = "mask"\nat = "input"\nwords = ["idiot"]', REFUSE)
    assert choices(await chat(app, "You idiot")) == [("Fine.", "stop")]
    assert "You [mask]" in prompts(engine)[0]


async def test_completions_mask_text_and_refuse_ids_that_they_cannot_mask(
    build: Build, engine: FakeEngine
) -> None:
    app = build(MASK)
    assert choices(await post(app, COMPLETIONS, prompt=[PHONE, "hi"])) == [("Fine.", "stop")] * 2
    assert prompts(engine) == ["call [phone]", "hi"]
    refused = await post(app, COMPLETIONS, prompt=toy_tokenizer().encode(PHONE))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
    assert refused.json()["error"]["param"] == "prompt"
    ids = toy_tokenizer().encode("hi")
    assert choices(await post(app, COMPLETIONS, prompt=ids)) == [("Fine.", "stop")]
    assert engine.submitted[-1].prompt == ids


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("decisions", DECISIONS | {"input": "you idiot"}, "input"),
        (
            "decisions",
            DECISIONS | {"questions": [QUESTION | {"instructions": "An idiot?"}]},
            "questions.0.instructions",
        ),
        ("systemone", SYSTEMONE | {"state": "you idiot"}, "state"),
        ("systemone", SYSTEMONE | {"state": {"text": "you idiot"}}, "state"),
        (
            "systemone",
            SYSTEMONE | {"questions": {"a": {"type": "noul", "criteria": {"true": "an idiot"}}}},
            "questions.0.instructions",
        ),
        ("classify", CLASSIFY | {"input": ["hello", "you idiot"]}, "input"),
        ("classify", CLASSIFY | {"labels": ["alpha", "idiot"]}, "instructions"),
        ("classify", CLASSIFY | {"labels": ["alpha", "idiot"], "multi_label": True}, "instructions"),
        ("classify", CLASSIFY | {"instructions": "Which idiot?"}, "instructions"),
        (
            "classify",
            CLASSIFY | {"labels": [{"label": "a", "description": "idiot"}, {"label": "b"}]},
            "instructions",
        ),
    ],
)
async def test_all_that_a_decision_shows_the_model_is_searched(
    build: Build, engine: FakeEngine, path: str, fields: dict[str, Any], param: str
) -> None:
    answer = await post(build(REFUSE), f"/v1/{path}", **fields)
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("content_filter", param)
    assert engine.submitted == []


@pytest.mark.parametrize(
    ("path", "fields"), [("decisions", DECISIONS), ("systemone", SYSTEMONE), ("classify", CLASSIFY)]
)
async def test_decisions_without_a_finding_are_as_ever(
    build: Build, engine: FakeEngine, path: str, fields: dict[str, Any]
) -> None:
    assert (await post(build(REFUSE, MASK), f"/v1/{path}", **fields)).status_code == 200
    assert len(engine.submitted) == 1


async def test_a_decision_is_about_the_masked_text_and_its_labels_stay(
    build: Build, engine: FakeEngine
) -> None:
    app = build(MASK)
    labels = [{"label": "a", "description": "says 138 1234 5678"}, {"label": "b"}]
    answer = await post(
        app, "/v1/classify", input=[PHONE], labels=labels, instructions="Is it a.b@example.com?"
    )
    assert answer.status_code == 200
    (prompt,) = prompts(engine)
    assert "call [phone]" in prompt and "[email]" in prompt and "says [phone]" in prompt
    assert "138" not in prompt
    refused = await post(app, "/v1/classify", input="hello", labels=["a", "a.b@example.com"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")


async def test_a_question_refuses_by_the_models_own_decision(build: Build, engine: FakeEngine) -> None:
    app = build(ASK)
    saying_yes(engine, "stupid")
    refused = await chat(app, "You are stupid", "Hello")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
    assert [request.task for request in engine.submitted] == ["decision"]
    assert "user: You are stupid\nuser: Hello" in prompts(engine)[0]
    engine.submitted.clear()
    assert choices(await chat(app, "Hello")) == [("Fine.", "stop")]
    assert [request.task for request in engine.submitted] == ["decision", "chat"]
    assert len({request.cache_salt for request in engine.submitted}) == 1


@pytest.mark.parametrize(("threshold", "status"), [(0.7, 200), (0.5, 400)])
async def test_labels_and_threshold_say_when(
    build: Build, engine: FakeEngine, threshold: float, status: int
) -> None:
    rule = ASK + f'\nlabels = ["kind", "rude", "vile"]\nwhen = ["rude", "vile"]\nthreshold = {threshold}'
    engine.scores = lambda prompt, labels: [-1.0, -1.0, -2.0]  # the last two: 0.58 together
    assert (await chat(build(rule), "Hello")).status_code == status


@pytest.mark.parametrize(("least_mass", "status"), [(0.2, 200), (0.1, 400)])
async def test_an_answer_that_the_model_would_not_give_counts_for_nothing(
    build: Build, engine: FakeEngine, least_mass: float, status: int
) -> None:
    engine.scores = lambda prompt, labels: [-2.0, -5.0]  # yes, but both together only 0.14
    assert (await chat(build(ASK + f"\nleast_mass = {least_mass}"), "Hello")).status_code == status


async def test_a_question_judges_every_text_of_a_decision(build: Build, engine: FakeEngine) -> None:
    app = build(ASK)
    saying_yes(engine, "stupid")
    fields = CLASSIFY | {"input": ["fine", "stupid"]}
    assert (await post(app, "/v1/classify", **fields)).status_code == 400
    assert len(engine.submitted) == 2
    assert (await post(app, "/v1/classify", **CLASSIFY)).status_code == 200


async def test_usage_is_that_of_the_request_alone(build: Build, engine: FakeEngine) -> None:
    app = build(ASK)
    saying_yes(engine, "stupid")
    answer = await chat(app, "Hello")
    assert answer.json()["usage"]["prompt_tokens"] == len(engine.submitted[1].prompt)
    assert value(app.state.services.metrics, "prompt_tokens_total") == len(engine.submitted[1].prompt)


@pytest.mark.parametrize(("on_failure", "status"), [("refuse", 503), ("allow", 200)])
async def test_what_cannot_be_judged_is_refused_unless_the_rule_says_otherwise(
    build: Build, engine: FakeEngine, on_failure: str, status: int
) -> None:
    app = build(ASK + f'\non_failure = "{on_failure}"')
    submit = engine.submit

    def overloaded(*args: Any, **fields: Any) -> Any:
        if fields.get("labels"):
            raise Overloaded(1.0)
        return submit(*args, **fields)

    engine.submit = overloaded  # type: ignore[method-assign]
    answer = await chat(app, "Hello")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    metrics = app.state.services.metrics
    assert value(metrics, "policy_actions_total", rule="rude", at="input", action="failed") == 1


async def test_a_review_holds_nothing_up(build: Build, engine: FakeEngine) -> None:
    """The question of a flag is asked beside the request, which does not wait for the answer."""
    app = build('name = "rude"\nat = "input"\naction = "flag"\nquestion = "Is it rude?"')
    saying_yes(engine, "stupid")
    assert choices(await chat(app, "You are stupid")) == [("Fine.", "stop")]
    assert sorted(request.task for request in engine.submitted) == ["chat", "decision"]
    metrics = app.state.services.metrics
    labels = {"rule": "rude", "at": "input", "action": "flag"}
    await until(lambda: value(metrics, "policy_actions_total", **labels) == 1)


async def test_long_text_is_searched_too(build: Build, engine: FakeEngine) -> None:
    engine.max_model_len = 1_000_000
    answer = await chat(build(REFUSE), "word " * 10_000 + "idiot")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")


@pytest.mark.parametrize("path", ["chat", "classify"])
async def test_judging_is_no_part_of_parsing(build: Build, engine: FakeEngine, path: str) -> None:
    """The stage ends before the model is asked about the request, and is told once."""
    app = build(ASK)
    observation = Observation("req", task="chat")
    parsed: list[float | None] = []

    def scores(prompt: list[int], labels: list[list[int]]) -> list[float]:
        parsed.append(observation.parse)
        return [-5.0, -0.1]

    engine.scores = scores
    services = app.state.services
    if path == "chat":
        generation = await services.chat.start([Message("user", "Hi")], GenerationOptions(), observation)
        generation.close()
    else:
        question = Question("predicate", services.decisions.yes_no(), "Angry?")
        await services.decisions.judge([Query(question, "Hi")], observation)
    assert parsed[0] is not None and set(parsed) == {observation.parse}


async def test_the_deadline_covers_the_judging(build: Build, engine: FakeEngine) -> None:
    app = build(ASK)
    saying_yes(engine, "stupid")
    await chat(app, "Hello", headers={"x-request-timeout-ms": "60000"})
    first, second = (request.timeout for request in engine.submitted)
    assert first is not None and second is not None and second < first <= 60


async def test_tokenizing_asks_no_model_and_is_not_searched(build: Build) -> None:
    assert (await post(build(REFUSE), "/tokenize", prompt="you idiot")).status_code == 200


async def test_without_a_policy_the_services_are_the_plain_ones(engine: FakeEngine) -> None:
    services = build_app(engine).state.services
    assert (type(services.chat), type(services.completions), type(services.decisions)) == (
        ChatService,
        CompletionService,
        DecisionService,
    )
