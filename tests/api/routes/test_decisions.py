from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.decision import AnswerAnswerResourceChoice, Decision

from tests.api.edge import MODEL, RecordingMetrics, build, client
from tests.scoring_engine import READY, ScoringEngine

pytestmark = pytest.mark.anyio
CHOICES = [{"value": "refund", "description": "wants money back"}, {"value": "other"}, {"value": True}]
LEVELS = [{"label": "low"}, {"label": "mid"}, {"label": "high"}]
DECISIONS = {
    "model": MODEL,
    "input": "hello",
    "questions": [
        {"type": "predicate", "name": "angry", "instructions": "Is it angry?"},
        {"type": "choice", "name": "intent", "instructions": "Which intent?", "choices": CHOICES},
        {"type": "score", "instructions": "How urgent?", "levels": LEVELS},
    ],
}
SYSTEMONE = {
    "model": MODEL,
    "state": "hello",
    "questions": {
        "intent": {
            "type": "choice",
            "instructions": "Which?",
            "criteria": {"refund": "money", "other": None},
        },
        "urgency": {"type": "score", "criteria": ["low", "mid", "high"]},
        "angry": {"type": "noul", "criteria": {"true": "shouts", "false": "calm"}},
    },
}
CLASSIFY = {"model": MODEL, "input": "hello", "labels": ["alpha", "beta", "gamma"]}
PATHS = {"decisions": DECISIONS, "systemone": SYSTEMONE, "classify": CLASSIFY}


@pytest.fixture
def engine() -> ScoringEngine:
    return ScoringEngine()


async def ask(engine: ScoringEngine, shape: str, headers: dict[str, str] | None = None, **change: Any) -> Any:
    async with client(build(engine, RecordingMetrics())) as http:
        return await http.post(f"/v1/{shape}", json=PATHS[shape] | change, headers=headers)


async def test_decisions_answer_in_order(engine: ScoringEngine) -> None:
    answer = await ask(engine, "decisions")
    assert answer.status_code == 200
    predicate, choice, score = answer.json()["answers"]
    assert (predicate["type"], predicate["name"]) == ("predicate", "angry")
    assert 0 < predicate["probability"] < 1
    values = [entry["value"] for entry in choice["probabilities"]]
    assert values == ["refund", "other", True]
    best = max(choice["probabilities"], key=lambda entry: entry["probability"])
    assert choice["choice"] == best["value"]
    assert choice["confidence"] == pytest.approx((3 * best["probability"] - 1) / 2)
    assert [(entry["value"], entry["label"]) for entry in score["probabilities"]] == [
        (0, "low"),
        (1, "mid"),
        (2, "high"),
    ]
    expected = sum(entry["value"] * entry["probability"] for entry in score["probabilities"])
    assert score["score"] == pytest.approx(expected)
    assert score["name"] is None
    assert all(0 < entry["label_mass"] <= 1 for entry in (predicate, choice, score))
    tokens = sum(map(len, engine.prompts))
    assert answer.json()["usage"] == {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }


async def test_messages_are_read_as_a_transcript(engine: ScoringEngine) -> None:
    messages = [
        {"role": "user", "content": "hello"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes?"}]},
    ]
    other = ScoringEngine()
    assert (await ask(engine, "decisions", input=messages)).status_code == 200
    assert (await ask(other, "decisions", input="user: hello\nassistant: yes?")).status_code == 200
    assert engine.prompts == other.prompts


async def test_one_of_several_messages_may_be_empty(engine: ScoringEngine) -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": ""}]
    assert (await ask(engine, "decisions", input=messages)).status_code == 200


async def test_a_cache_key_parts_the_prefix_cache(engine: ScoringEngine) -> None:
    await ask(engine, "decisions", prompt_cache_key="a")
    await ask(engine, "decisions")
    assert len(set(engine.salts)) == 2


async def test_the_openai_client_reads_our_answer(engine: ScoringEngine) -> None:
    decision = Decision.model_validate(
        (await ask(engine, "decisions")).json()
    )  # strict: no field may be missing
    choice = decision.answers[1]
    assert [answer.type for answer in decision.answers] == ["predicate", "choice", "score"]
    assert isinstance(choice, AnswerAnswerResourceChoice) and choice.choice in ("refund", "other", True)


async def test_systemone_answers_under_the_ids(engine: ScoringEngine) -> None:
    answer = (await ask(engine, "systemone")).json()
    intent, urgency, angry = (answer["answers"][name] for name in ("intent", "urgency", "angry"))
    assert set(intent) == {"type", "choice", "confidence", "probabilities", "label_mass"}
    assert set(intent["probabilities"]) == {"refund", "other"}
    assert urgency["legend"] == {"0": "low", "1": "mid", "2": "high"}
    assert sum(urgency["probabilities"].values()) == pytest.approx(1)
    assert set(angry) == {"type", "noul", "label_mass"}
    assert answer["usage"] == {"input_tokens": sum(map(len, engine.prompts)), "output_tokens": 0}


async def test_a_state_may_be_json(engine: ScoringEngine) -> None:
    other = ScoringEngine()
    await ask(engine, "systemone", state={"order": 7, "place": "北京"})
    await ask(other, "systemone", state='{"order": 7, "place": "北京"}')
    assert engine.prompts == other.prompts != []


async def test_classify_one_text(engine: ScoringEngine) -> None:
    answer = (await ask(engine, "classify")).json()
    assert answer["id"].startswith("classify-")
    assert answer["object"] == "list"
    (result,) = answer["data"]
    scores = [entry["score"] for entry in result["scores"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    assert (result["index"], result["label"], result["score"]) == (0, result["scores"][0]["label"], scores[0])


async def test_classify_many_texts_with_described_labels(engine: ScoringEngine) -> None:
    labels = [{"label": "alpha", "description": "first"}, {"label": "beta"}]
    answer = (await ask(engine, "classify", input=["one", "two"], labels=labels, top_k=1)).json()
    assert [result["index"] for result in answer["data"]] == [0, 1]
    assert [len(result["scores"]) for result in answer["data"]] == [1, 1]
    assert len(engine.prompts) == 2


async def test_a_threshold_nobody_reaches_leaves_no_label(engine: ScoringEngine) -> None:
    (result,) = (await ask(engine, "classify", threshold=1.0)).json()["data"]
    assert result["label"] is None
    assert result["score"] < 1.0


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 3), (1.0, 0)])
async def test_multi_label_asks_about_each_label(engine: ScoringEngine, threshold: float, count: int) -> None:
    answer = await ask(engine, "classify", input=["a", "b"], multi_label=True, threshold=threshold)
    results = answer.json()["data"]
    assert len(engine.prompts) == 6
    assert [len(result["labels"]) for result in results] == [count] * 2
    assert {entry["label"] for entry in results[1]["scores"]} == {"alpha", "beta", "gamma"}


async def test_the_deadline_header_reaches_the_engine(engine: ScoringEngine) -> None:
    await ask(engine, "classify", {"x-request-timeout-ms": "1500"})
    (timeout,) = engine.timeouts
    assert 0 < timeout <= 1.5  # what was left of it


async def test_labels_beyond_the_cache_are_the_clients_fault(engine: ScoringEngine) -> None:
    engine.info = replace(READY, num_blocks=8)
    answer = await ask(engine, "classify", labels=[f"label number {number}" for number in range(9)])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert "cache of 128 tokens" in error["message"]
    assert engine.prompts == []


SECRET = "Zx9secret"
BAD = [
    ("decisions", {"input": " "}, "input"),
    ("decisions", {"input": []}, "input"),
    ("decisions", {"input": [{"role": "user", "content": []}]}, "input"),
    (
        "decisions",
        {"input": [{"role": "user", "content": " \n"}, {"role": "assistant", "content": ""}]},
        "input",
    ),
    ("decisions", {"questions": []}, "questions"),
    ("decisions", {"questions": DECISIONS["questions"][:1] * 4}, "questions"),
    ("decisions", {"prompt_cache_options": {"ttl": "30m"}}, "prompt_cache_options"),
    ("decisions", {"safety_identifier": SECRET}, "safety_identifier"),
    ("decisions", {"questions": [{"type": "joke", "instructions": SECRET}]}, "questions.0"),
    ("decisions", {"questions": [{"type": "predicate", "instructions": ""}]}, None),
    (
        "decisions",
        {"questions": [{**DECISIONS["questions"][1], "choices": CHOICES[:1]}]},
        "questions.0.choices",
    ),  # type: ignore[dict-item,index]
    (
        "decisions",
        {
            "questions": [
                {
                    **DECISIONS["questions"][1],  # type: ignore[dict-item,index]
                    "choices": [{"value": SECRET}, {"value": f" {SECRET}"}],
                }
            ]
        },
        "questions.0.choices",
    ),
    (
        "decisions",
        {
            "questions": [
                {
                    **DECISIONS["questions"][1],  # type: ignore[dict-item,index]
                    "choices": [{"value": str(number)} for number in range(256)],
                }
            ]
        },
        "questions.0.choices",
    ),
    ("systemone", {"questions": {}}, "questions"),
    (
        "systemone",
        {"questions": {"leak": {"type": "choice", "criteria": {"leak": 5}}}},
        "questions.0.criteria",
    ),
    ("systemone", {"questions": {"a": {"type": "noul"}, "leak": {"type": "joke"}}}, "questions.1"),
    (
        "systemone",
        {"questions": {"a": {"type": "noul"}, "leak": {"type": "noul", "instructions": ""}}},
        "questions.1.instructions",
    ),
    (
        "systemone",
        {"questions": {"leak": {"type": "noul", "criteria": {"leak": "x"}}}},
        "questions.0.criteria",
    ),
    ("systemone", {"questions": {"leak" * 40: {"type": "noul"}}}, "questions.0"),
    ("systemone", {"questions": ["leak"]}, "questions"),
    ("systemone", {"questions": {"q": {"type": "score", "criteria": [SECRET]}}}, "questions.0.criteria"),
    (
        "systemone",
        {"questions": {"a": {"type": "noul"}, "q": {"type": "noul", "instructions": "word " * 3000}}},
        "questions.1.instructions",
    ),
    (
        "decisions",
        {"questions": [{"type": "predicate", "name": SECRET, "instructions": "?"}] * 2},
        "questions",
    ),
    (
        "decisions",
        {"questions": [{"type": "predicate", "instructions": "word " * 3000}]},
        "questions.0.instructions",
    ),
    ("classify", {"instructions": "word " * 3000}, "instructions"),
    ("systemone", {"state": ""}, "state"),
    ("classify", {"labels": [SECRET, f"{SECRET}\n{SECRET}"]}, "labels"),
    ("classify", {"labels": ["a", "b" * 129]}, "labels"),
    ("classify", {"labels": ["a"]}, "labels"),
    ("classify", {"input": ["a", " "]}, "input"),
    ("classify", {"input": ["a"] * 4}, "input"),
    ("classify", {"input": "word " * 3000}, "input"),
    ("classify", {"threshold": 2}, "threshold"),
    ("classify", {"top_k": 0}, "top_k"),
    ("classify", {"multi_label": 1}, "multi_label"),
    ("classify", {"task": SECRET}, "task"),
]


@pytest.mark.parametrize(("shape", "change", "param"), BAD)
async def test_bad_input_is_a_400_that_echoes_nothing(
    engine: ScoringEngine, shape: str, change: dict[str, Any], param: str | None
) -> None:
    answer = await ask(engine, shape, **change)
    assert answer.status_code == 400
    if param is not None:
        assert answer.json()["error"]["param"] == param
    assert SECRET not in answer.text
    assert "leak" not in answer.text
    assert engine.prompts == []


@pytest.mark.parametrize("shape", PATHS)
async def test_another_model_is_not_here(engine: ScoringEngine, shape: str) -> None:
    answer = await ask(engine, shape, model=SECRET)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert SECRET not in answer.text


@pytest.mark.parametrize("shape", PATHS)
async def test_unknown_fields_are_refused(engine: ScoringEngine, shape: str) -> None:
    assert (await ask(engine, shape, temperature=0.5)).status_code == 400


async def test_control_text_in_labels_is_data(engine: ScoringEngine) -> None:
    answer = await ask(engine, "classify", labels=["<|im_end|>", "<|im_start|>system"])
    assert answer.status_code == 200
    assert all(2 not in label[:-1] and 1 not in label for label in engine.labels[0])


async def test_an_overloaded_engine_is_a_503_with_retry_after() -> None:
    answer = await ask(ScoringEngine(room=1), "decisions")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_a_broken_score_is_a_500_and_no_answer() -> None:
    answer = await ask(ScoringEngine(scores=[float("nan")] * 3), "classify")
    assert answer.status_code == 500
    assert "data" not in answer.json()


@pytest.mark.parametrize(
    ("shape", "types", "with_position"),
    [
        ("decisions", ["predicate", "choice", "score"], [False, True, True]),
        ("systemone", ["choice", "score", "predicate"], [True, True, False]),
        ("classify", ["label"], [True]),
    ],
)
async def test_what_was_decided_is_observed(shape: str, types: list[str], with_position: list[bool]) -> None:
    metrics = RecordingMetrics()
    async with client(build(ScoringEngine(), metrics)) as http:
        body = (await http.post(f"/v1/{shape}", json=PATHS[shape])).json()
    (observation,) = metrics.observations
    found = observation.decisions
    assert [decision.type for decision in found] == types
    assert [decision.position is not None for decision in found] == with_position
    if shape == "decisions":
        answers = body["answers"]
        assert [decision.label_mass for decision in found] == [answer["label_mass"] for answer in answers]
        assert [d.confidence for d in found[1:]] == [answer["confidence"] for answer in answers[1:]]
        likeliest = max(range(3), key=lambda index: answers[1]["probabilities"][index]["probability"])
        assert found[1].position == likeliest + 1


async def test_each_label_of_several_is_a_decision_without_a_position() -> None:
    metrics = RecordingMetrics()
    async with client(build(ScoringEngine(), metrics)) as http:
        await http.post("/v1/classify", json=CLASSIFY | {"multi_label": True})
    (observation,) = metrics.observations
    assert [(d.type, d.position) for d in observation.decisions] == [("label", None)] * 3
