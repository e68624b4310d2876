"""Rules on what the model says: nothing forbidden leaves, whole or streamed, and the stream says how it ended."""

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.messages import FinishReason
from app.errors import EngineDied, Overloaded
from app.masking.mask import mask
from app.observation import Observation
from app.policy.detectors import detector_of
from app.policy.guarded_text import GuardedText
from app.policy.rules import Rule
from app.services.chat_template import Message
from app.services.options import GenerationOptions
from tests.api.conftest import saying, toy_tokenizer
from tests.exposition import value
from tests.fakes import FakeEngine
from tests.masking.test_growing import cut, texts
from tests.policy.conftest import COMPLETIONS, Build, chat, choices, post, until

pytestmark = pytest.mark.anyio

REFUSE = 'name = "insults"\nat = "output"\naction = "refuse"\nwords = ["idiot", "傻瓜"]'
MASK = 'name = "personal"\nat = "output"\naction = "mask"\npersonal = true'
FLAG = 'name = "lawyers"\nat = "output"\naction = "flag"\nwords = ["lawyer"]'
ASK = 'name = "rude"\nat = "output"\naction = "refuse"\nquestion = "Is it rude?"'

wholes = pytest.mark.parametrize("stream", [False, True])


def judging(engine: FakeEngine, rude: str) -> None:
    """The model says yes to questions about a text with these words, and no to the others."""
    engine.scores = lambda prompt, labels: (
        [-0.1, -5.0] if rude in toy_tokenizer().decode(prompt) else [-5.0, -0.1]
    )


def counted(app: object, rule: str, action: str, at: str = "output") -> float:
    metrics = app.state.services.metrics  # type: ignore[attr-defined]
    return value(metrics, "policy_actions_total", rule=rule, at=at, action=action)


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The fields of the request's line."""
    (record,) = [record for record in caplog.records if record.name == "app.access"]
    return record.fields  # type: ignore[attr-defined,no-any-return]


@wholes
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("You are an idiot, sir", "You are an "),
        ("你是个傻瓜啊", "你是个"),
        ("idiot", ""),
        ("no id, iot", None),
    ],
)
async def test_a_refused_answer_ends_where_it_says_it(
    build: Build, engine: FakeEngine, said: str, shown: str | None, stream: bool
) -> None:
    app = build(REFUSE)
    engine.script = saying(said)
    expected = (said, "stop") if shown is None else (shown, "content_filter")
    assert choices(await chat(app, "Hi", stream=stream)) == [expected]
    assert choices(await post(app, COMPLETIONS, prompt="Hi", stream=stream)) == [expected]
    assert counted(app, "insults", "refuse") == (0 if shown is None else 2)


async def test_a_refused_sequence_is_aborted_and_its_usage_is_what_was_generated(
    build: Build, engine: FakeEngine
) -> None:
    app = build(REFUSE)
    engine.script = saying("You are an idiot, and much more that nobody will ever read")
    engine.hold, engine.hold_after = True, len(toy_tokenizer().encode("You are an idiot, "))
    answer = await chat(app, "Hi", stream=True, stream_options={"include_usage": True}, max_tokens=200)
    assert engine.left == [FinishReason.ABORTED]
    last = json.loads(answer.text.split("\n\n")[-3].removeprefix("data: "))
    assert 0 < last["usage"]["completion_tokens"] <= engine.hold_after
    assert last["usage"]["prompt_tokens"] == len(engine.submitted[0].prompt)
    assert choices(answer) == [("You are an ", "content_filter")]
    assert value(app.state.services.metrics, "generated_tokens_total") == last["usage"]["completion_tokens"]


@wholes
async def test_a_masked_answer_is_whole_but_for_what_is_masked(
    build: Build, engine: FakeEngine, stream: bool
) -> None:
    app = build(MASK)
    said = "Call 138 1234 5678 or write to a.b@example.com about order 48213, ok?"
    engine.script = saying(said)
    expected = ("Call [phone] or write to [email] about order 48213, ok?", "stop")
    assert choices(await chat(app, "Hi", stream=stream)) == [expected]
    assert counted(app, "personal", "mask") == 1


async def test_a_masked_stream_flows(build: Build, engine: FakeEngine) -> None:
    """What is certain is shown while the model still speaks."""
    app = build(MASK)
    engine.script = saying("Your order has left, call 138 1234 5678 now")
    engine.hold, engine.hold_after = True, len(toy_tokenizer().encode("Your order has left, call 138 1234 "))
    generation = await app.state.services.chat.start(*started())
    pieces = generation.pieces()
    early = ""
    while early != "Your order has left, call ":
        early += "".join(piece.text for piece in await anext(pieces))
    engine.release()
    rest = "".join([piece.text async for batch in pieces for piece in batch])
    assert rest == "[phone] now"


def started() -> tuple[object, ...]:
    return [Message("user", "Hi")], GenerationOptions(max_tokens=200), Observation("req", task="chat")


@wholes
async def test_a_flag_on_an_answer_changes_nothing(build: Build, engine: FakeEngine, stream: bool) -> None:
    app = build(FLAG)
    engine.script = saying("Ask a lawyer. A lawyer!")
    assert choices(await chat(app, "Hi", stream=stream, n=2)) == [("Ask a lawyer. A lawyer!", "stop")] * 2
    assert counted(app, "lawyers", "flag") == 1


async def test_one_refused_answer_of_several_gives_the_request_its_finish_reason(
    build: Build, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter(["You idiot", "Fine."])
    engine.script = lambda prompt: toy_tokenizer().encode(next(answers))
    with caplog.at_level("INFO", "app.access"):
        await chat(build(REFUSE), "Hi", n=2)
    assert line(caplog)["finish_reason"] == "content_filter"


@wholes
async def test_each_of_several_answers_is_looked_at_alone(
    build: Build, engine: FakeEngine, stream: bool
) -> None:
    app = build(REFUSE)
    answers = iter(["You idiot", "Fine.", "Fine, too."])
    engine.script = lambda prompt: toy_tokenizer().encode(next(answers))
    assert choices(await chat(app, "Hi", stream=stream, n=3)) == [
        ("You ", "content_filter"),
        ("Fine.", "stop"),
        ("Fine, too.", "stop"),
    ]


@wholes
async def test_rules_see_what_those_before_them_let_through(
    build: Build, engine: FakeEngine, stream: bool
) -> None:
    app = build(MASK, 'name = "places"\nat = "output"\naction = "refuse"\nwords = ["phone", "example"]')
    engine.script = saying("mail a.b@example.com or 138 1234 5678 thanks")
    assert choices(await chat(app, "Hi", stream=stream)) == [("mail [email] or [", "content_filter")]


async def test_the_line_and_the_finish_reason_say_it(
    build: Build, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.script = saying("You idiot")
    with caplog.at_level("INFO", "app.access"):
        await chat(build(REFUSE), "Hi")
    fields = line(caplog)
    assert fields["policy"] == ["insults:output:refuse"]
    assert (fields["finish_reason"], fields["outcome"]) == ("content_filter", "ok")


async def test_the_line_tells_of_a_judged_answer_and_of_nothing_that_the_judging_took(
    build: Build, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    app = build(ASK)
    judging(engine, "stupid")
    engine.script = saying("You are stupid")
    with caplog.at_level("INFO", "app.access"):
        await chat(app, "Hi")
    said, judged = engine.submitted
    fields = line(caplog)
    assert (fields["finish_reason"], fields["policy"]) == ("content_filter", ["rude:output:refuse"])
    assert fields["prompt_tokens"] == len(said.prompt)
    assert value(app.state.services.metrics, "decisions_total", type="predicate") == 0
    assert said.timeout is not None and judged.timeout is not None and judged.timeout < said.timeout


async def test_without_a_finding_the_line_is_as_ever(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "app.access"):
        await chat(build(REFUSE), "Hi")
    assert "policy" not in line(caplog)


@pytest.mark.parametrize("rule", [REFUSE, MASK, ASK])
async def test_logprobs_would_tell_what_is_hidden_and_are_refused(build: Build, rule: str) -> None:
    app = build(rule)
    for answer in (
        await chat(app, "Hi", logprobs=True),
        await post(app, COMPLETIONS, prompt="Hi", logprobs=0),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (
            400,
            "unsupported_parameter",
            "logprobs",
        )


async def test_logprobs_stay_where_nothing_is_hidden(build: Build) -> None:
    app = build(FLAG, REFUSE.replace("output", "input"))
    assert (await chat(app, "Hi", logprobs=True)).json()["choices"][0]["logprobs"]["content"]


@wholes
@pytest.mark.parametrize(
    ("action", "expected"), [("refuse", ("", "content_filter")), ("mask", ("[rude]", "stop"))]
)
async def test_a_judged_answer_is_shown_when_it_is_judged(
    build: Build, engine: FakeEngine, action: str, expected: tuple[str, str], stream: bool
) -> None:
    app = build(ASK.replace("refuse", action))
    judging(engine, "stupid")
    answers = iter(["You are stupid", "Fine."])
    engine.script = lambda prompt: toy_tokenizer().encode(next(answers))
    assert choices(await chat(app, "Hi", stream=stream, n=2)) == [expected, ("Fine.", "stop")]
    assert [request.task for request in engine.submitted] == ["chat", "chat", "decision", "decision"]
    assert counted(app, "rude", action) == 1


async def test_nothing_of_an_answer_leaves_before_it_is_judged(build: Build, engine: FakeEngine) -> None:
    app = build(ASK)
    judging(engine, "stupid")
    engine.script = saying("Fine, and much more")
    engine.hold, engine.hold_after = True, 3
    generation = await app.state.services.chat.start(*started())
    reading = asyncio.ensure_future(anext(generation.pieces()))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not reading.done()
    engine.release()
    assert [(piece.text, piece.finish_reason) for piece in await reading] == [("Fine, and much more", "stop")]


@wholes
@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
async def test_an_answer_that_cannot_be_judged(
    build: Build, engine: FakeEngine, on_failure: str, stream: bool
) -> None:
    """Closed, it is the error of the decision, and nothing of the answer is shown."""
    app = build(ASK + f'\non_failure = "{on_failure}"')
    submit = engine.submit

    def overloaded(*args: object, **fields: object) -> object:
        if fields.get("labels"):
            raise Overloaded(1.0)
        return submit(*args, **fields)  # type: ignore[arg-type]

    engine.submit = overloaded  # type: ignore[assignment, method-assign]
    answer = await chat(app, "Hi", stream=stream)
    if on_failure == "allow":
        assert choices(answer) == [("Fine.", "stop")]
    else:
        assert answer.status_code == 503
        assert "Fine" not in answer.text
    assert counted(app, "rude", "failed") == 1


@wholes
async def test_the_question_of_a_flag_is_asked_when_the_answer_was_given(
    build: Build, engine: FakeEngine, stream: bool
) -> None:
    app = build(ASK.replace("refuse", "flag"))
    judging(engine, "stupid")
    engine.script = saying("You are stupid")
    assert choices(await chat(app, "Hi", stream=stream)) == [("You are stupid", "stop")]
    await until(lambda: counted(app, "rude", "flag") == 1)
    assert [request.task for request in engine.submitted] == ["chat", "decision"]


async def test_an_answer_that_says_nothing_is_not_judged(build: Build, engine: FakeEngine) -> None:
    engine.script = saying("")
    assert choices(await chat(build(ASK), "Hi")) == [("", "stop")]
    assert [request.task for request in engine.submitted] == ["chat"]


async def test_a_client_that_leaves_while_its_answer_is_judged_frees_the_question(
    build: Build, engine: FakeEngine
) -> None:
    app = build(ASK)
    submit = engine.submit
    asked = asyncio.Event()

    def held(prompt: list[int], **fields: object) -> object:
        if not fields.get("labels"):
            return submit(prompt, **fields)  # type: ignore[arg-type]
        asked.set()
        fields["labels"] = []  # as chat, which is held, so that it stays open
        engine.hold, engine.hold_after = True, 0
        return submit(prompt, **fields)  # type: ignore[arg-type]

    engine.submit = held  # type: ignore[assignment, method-assign]
    request = asyncio.ensure_future(chat(app, "Hi"))
    await asked.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: engine.aborted == [2])


async def test_a_failure_in_mid_stream_flushes_nothing_that_was_held(
    build: Build, engine: FakeEngine
) -> None:
    app = build(MASK)
    engine.script = saying("Hello there, call 138 1234 5678 now")
    engine.fail_after, engine.failure = (
        len(toy_tokenizer().encode("Hello there, call 138 1234")),
        EngineDied(),
    )
    answer = await chat(app, "Hi", stream=True)
    assert "138" not in answer.text and '"error"' in answer.text and "[DONE]" not in answer.text


async def test_a_stop_string_comes_first(build: Build, engine: FakeEngine) -> None:
    engine.script = saying("You END idiot")
    assert choices(await chat(build(REFUSE), "Hi", stop="END")) == [("You ", "stop")]


# Whatever the pieces


def guarded(*rules: Rule) -> GuardedText:
    return GuardedText([(rule, detector_of(rule)) for rule in rules])


PERSONAL = Rule(name="p", action="mask", personal=True)  # type: ignore[arg-type]
WORDS = Rule(name="w", action="mask", words=("order", "phone", "订单", "a1 12"))
STOP = Rule(name="s", action="refuse", words=("x order", "email"))
FLAGGED = Rule(name="f", action="flag", words=("order",))


@settings(max_examples=300)
@given(
    texts,
    st.lists(st.integers(0, 10_000), max_size=8),
    st.lists(st.sampled_from([PERSONAL, WORDS, STOP, FLAGGED]), min_size=1, max_size=3, unique=True),
)
def test_pieces_are_guarded_like_the_whole(text: str, places: list[int], rules: list[Rule]) -> None:
    whole = guarded(*rules)
    expected = whole.feed(text, last=True)
    growing, shown = guarded(*rules), ""
    pieces = cut(text, places)
    for index, piece in enumerate(pieces):
        shown += growing.feed(piece, last=index == len(pieces) - 1)
        if growing.refused:
            break
    assert (shown, growing.refused) == (expected, whole.refused)
    assert growing.acted == whole.acted
    if rules == [PERSONAL] and "062345678" not in text:  # the joined landline
        assert shown == mask(text)


def test_the_end_of_a_refused_text_is_the_end_for_all_rules() -> None:
    """What a later rule held back is no word after all."""
    text = guarded(STOP, WORDS)
    assert text.feed("call a1 email", last=False) == "call "
    assert text.feed(" now", last=False) == "a1 "
    assert text.refused


def test_some_kinds_alone() -> None:
    rule = Rule(name="p", action="mask", personal=frozenset({"email"}))
    assert guarded(rule).feed("a.b@example.com, 13812345678", last=True) == "[email], 13812345678"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Your order 01062345678 has left.", "Your order 01062345678 has left."),
        ("UPC 075582345678, 075582345678-2", "UPC 075582345678, 075582345678-2"),
        ("hotel 01062345678", "hotel 01062345678"),
        ("Phone: 01062345678 or order 01062345678", "Phone: [phone] or order 01062345678"),
        ("TEL.075582345678", "TEL.[phone]"),
        ("客服电话是：0106​2345678。", "客服电话是：[phone]。"),
        ("传真０１０６２３４５６７８", "传真[phone]"),
        ("010-62345678, 01062345678转801", "[phone], [phone]"),
        ("13812345678", "[phone]"),
    ],
)
def test_a_landline_without_signs_is_one_where_a_word_says_so(said: str, shown: str) -> None:
    """An order number has the same form; however the text comes."""
    rule = Rule(name="p", action="mask", personal=frozenset({"phone"}))
    assert guarded(rule).feed(said, last=True) == shown
    growing = guarded(rule)
    assert (
        "".join([*(growing.feed(piece, last=False) for piece in said), growing.feed("", last=True)]) == shown
    )


@pytest.mark.parametrize("action", ["mask", "refuse"])
def test_what_is_longer_than_what_is_held_is_refused(action: str) -> None:
    """Never shown for want of memory."""
    text = guarded(Rule(name="p", action=action, personal=True))  # type: ignore[arg-type]
    shown = text.feed("see sk-", last=False)
    for _ in range(math.ceil(10_000 / 16)):
        shown += text.feed("abcdefghijklmnop", last=False)
        if text.refused:
            break
    assert (shown, text.refused) == ("see ", True)
