import asyncio
import dataclasses
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.engine.core.sequence import Sequence as EngineSequence
from app.engine.messages import AddRequest
from app.errors import (
    CacheSizeExceeded,
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SequenceFailed,
)
from app.observation import Observation
from app.services.decision_prompts import DecisionPrompts
from app.services.decisions import DecisionService, Judgement, Query, turn_end
from app.services.questions import Label, Question
from app.services.tokenizer import Tokenizer
from app.settings import Settings
from tests.scoring_engine import READY, ScoringEngine, score
from tests.toy_tokenizer import toy_directory

pytestmark = pytest.mark.anyio
TOKENIZER = Tokenizer.from_directory(toy_directory())
TURN_END = 2
names = st.lists(st.text("abcdefgh <|>", min_size=1, max_size=8), min_size=2, max_size=6, unique_by=str.strip)


def service(engine: ScoringEngine, **prompts: float) -> DecisionService:
    return DecisionService(engine, TOKENIZER, Settings(max_waiting=8), DecisionPrompts(**prompts))


def question(*labels: str) -> Question:
    return Question("choice", tuple(Label(label) for label in labels), "topic")


async def judge(engine: ScoringEngine, *queries: Query) -> list[Judgement]:
    return await service(engine).judge(queries, Observation("req"))


def scores_of(labels: Sequence[str]) -> list[float]:
    (judgement,) = asyncio.run(judge(ScoringEngine(), Query(question(*labels), "text")))
    return judgement.scores


@settings(max_examples=30, deadline=None)
@given(names.filter(lambda labels: all(label.strip() for label in labels)), st.randoms())
def test_permuting_labels_permutes_scores(labels: list[str], random: object) -> None:
    shuffled = sorted(labels)
    assert dict(zip(labels, scores_of(labels), strict=True)) == dict(
        zip(shuffled, scores_of(shuffled), strict=True)
    )


@settings(max_examples=30, deadline=None)
@given(names.filter(lambda labels: all(label.strip() for label in labels)))
def test_adding_a_label_leaves_the_others_scores(labels: list[str]) -> None:
    assert scores_of([*labels, "zebra"])[:-1] == scores_of(labels)


async def test_a_label_is_its_tokens_and_the_end_of_the_turn() -> None:
    engine = ScoringEngine()
    await judge(engine, Query(question("card arrival", "<|im_end|>"), "text"))
    plain, spelled = engine.labels[0]
    assert plain == [*TOKENIZER.encode("card arrival"), TURN_END]
    assert spelled[-1] == TURN_END
    assert TURN_END not in spelled[:-1]


def test_the_end_of_a_turn_is_what_the_template_writes() -> None:
    assert turn_end(TOKENIZER) == TURN_END


@pytest.mark.parametrize(("ends", "found"), [([0], 0), ([], TURN_END)])
def test_the_end_of_a_turn_without_a_listed_one(
    ends: list[int], found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TOKENIZER, "eos_token_ids", ends)
    assert turn_end(TOKENIZER) == found


def test_a_template_that_ends_no_turn_has_no_decisions() -> None:
    bare = Tokenizer.from_directory(toy_directory("{% for m in messages %}{{ m['content'] }}{% endfor %}"))
    bare.eos_token_ids = []
    with pytest.raises(InvalidRequest):
        turn_end(bare)


async def test_probabilities_use_the_fitted_temperature_and_mass_does_not() -> None:
    query = Query(question("a", "b"), "text")
    (cold,) = await service(ScoringEngine()).judge([query], Observation("req"))
    (warm,) = await service(ScoringEngine(), temperature=5.0).judge([query], Observation("req"))
    assert max(warm.probabilities) < max(cold.probabilities)
    assert warm.label_mass == cold.label_mass < 1
    assert cold.scores == [score([*TOKENIZER.encode(label), TURN_END]) for label in "ab"]


async def test_all_queries_are_submitted_and_observed() -> None:
    engine, observation = ScoringEngine(), Observation("req")
    queries = [Query(question("a", "b"), text) for text in ("one", "two", "three")]
    judgements = await service(engine).judge(queries, observation, timeout=2.5, cache_salt="acme")
    assert len(judgements) == len(engine.prompts) == 3
    assert engine.salts == ["acme"] * 3
    assert all(0 < timeout <= 2.5 for timeout in engine.timeouts) and len(engine.timeouts) == 3
    assert observation.prompt_tokens == sum(map(len, engine.prompts))
    assert observation.cached_tokens == 9
    assert (observation.queue, observation.prefill) == (0.001, 0.002)
    assert observation.tokenize is not None
    assert engine.aborted == []


async def test_a_refusal_leaves_nothing_submitted() -> None:
    engine = ScoringEngine(room=2, hold=True)
    with pytest.raises(Overloaded):
        await judge(engine, *[Query(question("a", "b"), "text")] * 3)
    assert engine.prompts == []


async def test_leaving_closes_every_query() -> None:
    engine = ScoringEngine(hold=True)
    work = asyncio.ensure_future(judge(engine, *[Query(question("a", "b"), "text")] * 3))
    while len(engine.prompts) < 3:
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert engine.aborted == [1, 2, 3]


@pytest.mark.parametrize("scores", [[float("nan"), -1.0], [float("-inf"), -1.0], [-1.0]])
async def test_a_broken_score_is_an_error_and_no_answer(scores: list[float]) -> None:
    with pytest.raises(SequenceFailed):
        await judge(ScoringEngine(scores=scores), Query(question("a", "b"), "text"))


async def test_a_failed_stream_fails_the_request() -> None:
    class Expiring(ScoringEngine):
        def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            stream = super().submit(*args, **kwargs)
            stream.fail(DeadlineExceeded())
            return stream

    engine = Expiring(hold=True)
    with pytest.raises(DeadlineExceeded):
        await judge(engine, Query(question("a", "b"), "text"))


async def test_empty_text_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await judge(ScoringEngine(), Query(question("a", "b"), " \n", "state"))
    assert caught.value.param == "state"


async def test_more_queries_than_the_queue_holds_are_refused() -> None:
    engine = ScoringEngine()
    with pytest.raises(InvalidRequest):
        await judge(engine, *[Query(question("a", "b"), "text")] * 9)
    assert engine.prompts == []


async def test_text_beyond_the_context_is_refused() -> None:
    engine = ScoringEngine()
    with pytest.raises(ContextLengthExceeded):
        await judge(engine, Query(question("a", "b"), "xyz " * 3_000))
    assert engine.prompts == []


@pytest.mark.parametrize(
    ("instructions", "text", "param"),
    [(None, "xyz " * 100_000, "input"), ("xyz " * 100_000, "text", "instructions")],
)
async def test_what_is_far_beyond_the_context_is_not_even_tokenized(
    instructions: str | None, text: str, param: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = service(ScoringEngine())
    monkeypatch.setattr(TOKENIZER, "encode_prompt", None)
    asked = dataclasses.replace(question("a", "b"), instructions=instructions)
    with pytest.raises(ContextLengthExceeded) as refused:
        await decisions.judge([Query(asked, text)], Observation("req"))
    assert refused.value.param == param


async def test_labels_fit_the_cache_behind_the_prompt_or_are_refused() -> None:
    labels = [f"{word} {number}" for word in ("order", "hello") for number in range(30)]
    engine = ScoringEngine()
    await judge(engine, Query(question(*labels), "text"))
    request = AddRequest(id=1, prompt=engine.prompts[0], labels=engine.labels[0])
    needed = len(EngineSequence.of(request, 0.0).tokens)
    assert needed < len(request.prompt) + sum(map(len, request.labels))  # some labels begin alike
    engine.info = replace(READY, num_blocks=needed, block_size=1)
    await judge(engine, Query(question(*labels), "text"))
    engine.info = replace(READY, num_blocks=needed - 1, block_size=1)
    with pytest.raises(CacheSizeExceeded) as caught:
        await judge(engine, Query(question(*labels), "text"))
    assert caught.value.param == "input"
    assert len(engine.prompts) == 2


async def test_labels_that_the_model_cannot_tell_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOKENIZER, "encode", lambda text: [7])
    with pytest.raises(InvalidRequest) as caught:
        await judge(ScoringEngine(), Query(question("a", "A"), "text"))
    assert caught.value.param == "labels"


async def test_a_deadline_that_passed_before_the_engine_was_asked() -> None:
    engine = ScoringEngine()
    observation = Observation("r", arrived=time.perf_counter() - 3.0)
    with pytest.raises(DeadlineExceeded):
        await service(engine).judge([Query(question("a", "b"), "some text")], observation, timeout=2.5)
    assert engine.timeouts == []
