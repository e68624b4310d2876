"""Generation: what came while the reader was busy is one piece; nothing is lost, and the first failure comes last."""

import pytest

from app.engine.messages import FinishReason, SequenceOutput, SequenceTimings, TokenLogprob
from app.engine.stream import RequestStream
from app.errors import EngineDied
from app.observation import Observation
from app.services.answer import Answer, Piece
from app.services.generation import Generation
from app.services.tokenizer import Tokenizer
from tests.toy_tokenizer import toy_directory

pytestmark = pytest.mark.anyio
TOKENIZER = Tokenizer.from_directory(toy_directory())


class Opened:
    """A generation of `count` answers, and the streams that the engine would feed."""

    def __init__(self, count: int = 1, stop: tuple[str, ...] = ()) -> None:
        self.aborted: list[int] = []
        self.streams = [RequestStream(i, lambda one, reason: self.aborted.append(one)) for i in range(count)]
        answers = [Answer(i, stream, TOKENIZER, stop) for i, stream in enumerate(self.streams)]
        self.observation = Observation("req_1")
        self.generation = Generation(answers, count, 5, self.observation)

    def feed(self, text: str, end: FinishReason | None = None, *, logprobs: bool = False) -> None:
        """Give each answer this text, a token an output; the end comes in an output of its own."""
        for stream in self.streams:
            for token in TOKENIZER.encode(text):
                entries = [TokenLogprob(token, -0.5, [])] if logprobs else []
                stream.feed(SequenceOutput(id=stream.id, tokens=[token], logprobs=entries))
            if end is not None:
                timings = SequenceTimings(0.0, 0.1, 0.2)
                stream.feed(SequenceOutput(id=stream.id, finish_reason=end, timings=timings))

    async def rest(self) -> list[list[Piece]]:
        return [batch async for batch in self.generation.pieces()]


@pytest.mark.parametrize("count", [1, 3])
async def test_what_came_while_the_reader_was_busy_is_one_piece(count: int) -> None:
    opened = Opened(count)
    pieces = opened.generation.pieces()
    opened.feed("Hello")
    assert [piece.text for piece in await anext(pieces)] == ["Hello"] * count
    opened.feed(", wörld 👋🏽")
    opened.feed("!", FinishReason.LENGTH)
    assert [(piece.text, piece.finish_reason) for piece in await anext(pieces)] == [
        (", wörld 👋🏽!", "length")
    ] * count
    assert await anext(pieces, None) is None
    assert opened.generation.completion_tokens == count * (
        sum(len(TOKENIZER.encode(text)) for text in ("Hello", ", wörld 👋🏽", "!"))
    )
    assert (opened.observation.finish_reason, opened.observation.decode, opened.aborted) == (
        "length",
        0.2,
        [],
    )


async def test_a_reader_that_keeps_up_waits_for_no_second_token() -> None:
    opened = Opened()
    pieces = opened.generation.pieces()
    for text in ("a", "b", "c"):
        opened.feed(text)
        assert [piece.text for piece in await anext(pieces)] == [text]


async def test_each_token_keeps_its_logprobs() -> None:
    opened = Opened()
    opened.feed("Hello, wörld", FinishReason.STOP, logprobs=True)
    (((piece,)),) = await opened.rest()
    assert [entry.token for entry in piece.logprobs] == TOKENIZER.encode("Hello, wörld")


@pytest.mark.parametrize("logprobs", [False, True])
async def test_a_stop_string_over_tokens_that_came_together_ends_the_answer(logprobs: bool) -> None:
    opened = Opened(stop=("END",))
    opened.feed("one END two", logprobs=logprobs)
    ((piece,),) = await opened.rest()
    assert (piece.text, piece.finish_reason, opened.aborted) == ("one ", "stop", [0])


@pytest.mark.parametrize("count", [1, 3])
async def test_a_failure_is_raised_after_what_came_before_it(count: int) -> None:
    opened = Opened(count)
    opened.feed("Hello")
    opened.streams[0].fail(EngineDied())
    seen: list[str] = []
    with pytest.raises(EngineDied):
        async for batch in opened.generation.pieces():
            seen += [piece.text for piece in batch]
    assert seen == ["Hello"] * count
    assert opened.aborted == [stream.id for stream in opened.streams[1:]]


async def test_one_answer_may_end_long_before_another() -> None:
    opened = Opened(2)
    pieces = opened.generation.pieces()
    first, second = opened.streams
    first.feed(SequenceOutput(id=0, tokens=TOKENIZER.encode("a"), finish_reason=FinishReason.LENGTH))
    assert [(piece.index, piece.finish_reason) for piece in await anext(pieces)] == [(0, "length")]
    second.feed(SequenceOutput(id=1, tokens=TOKENIZER.encode("b"), finish_reason=FinishReason.STOP))
    assert [(piece.index, piece.finish_reason) for piece in await anext(pieces)] == [(1, "stop")]
    assert await anext(pieces, None) is None


async def test_closing_ends_an_iteration_that_waits() -> None:
    opened = Opened()
    opened.generation.close()
    assert await opened.rest() == []
    assert opened.aborted == [0]


@pytest.mark.parametrize("leaves", [False, True])
async def test_the_longest_silence_of_all_answers_is_observed(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("app.engine.stream.monotonic", lambda: now)
    opened = Opened(2)
    opened.feed("Hello")
    now = 3.0
    if not leaves:
        opened.feed("!", FinishReason.STOP)
        await opened.rest()
    opened.generation.close()
    assert opened.observation.longest_gap == 3.0
