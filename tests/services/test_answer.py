"""Answer: text, end and early end of one sequence."""

import pytest

from app.engine.messages import FinishReason, SequenceOutput, SequenceTimings, TokenLogprob
from app.engine.stream import RequestStream
from app.errors import SequenceFailed
from app.services.answer import Answer, Piece
from app.services.tokenizer import Tokenizer
from tests.toy_tokenizer import toy_directory

TOKENIZER = Tokenizer.from_directory(toy_directory())


def answer(*stop: str) -> tuple[Answer, list[FinishReason]]:
    left: list[FinishReason] = []
    return Answer(0, RequestStream(7, lambda request_id, reason: left.append(reason)), TOKENIZER, stop), left


def output(text: str, finish: FinishReason | None = None, *, logprobs: bool = False) -> SequenceOutput:
    tokens = TOKENIZER.encode(text)
    entries = [TokenLogprob(token, -0.5, []) for token in tokens] if logprobs else []
    return SequenceOutput(id=7, tokens=tokens, logprobs=entries, finish_reason=finish)


def shown(piece: Piece | None) -> str:
    """The text of the tokens whose log-probabilities a piece has."""
    assert piece is not None
    return TOKENIZER.decode([entry.token for entry in piece.logprobs])


def test_a_stop_string_aborts_the_sequence_at_once() -> None:
    growing, aborted = answer("END")
    piece = growing.take([output("one END two")])
    assert piece is not None and (piece.text, piece.finish_reason) == ("one ", "stop")
    assert aborted == [FinishReason.STOP]
    assert growing.take([output("more")]) is None


def test_held_back_text_comes_with_the_end() -> None:
    growing, aborted = answer("END")
    first, last = growing.take([output("one EN")]), growing.take([output("", FinishReason.LENGTH)])
    assert first is not None and first.text == "one "
    assert last is not None and (last.text, last.finish_reason) == ("EN", "length")
    assert aborted == []


def test_logprobs_tell_nothing_that_a_stop_string_hides() -> None:
    growing, _ = answer("order has")
    pieces = [growing.take([output(text, logprobs=True)]) for text in ("Where is my or", "der ", "has it")]
    assert all(piece and piece.text.startswith(shown(piece)) for piece in pieces)
    assert "".join(piece.text for piece in pieces if piece) == "Where is my "


def test_logprobs_come_with_their_text() -> None:
    growing, _ = answer("END")
    first, last = (
        growing.take([output("one EN", logprobs=True)]),
        growing.take([output("", FinishReason.STOP, logprobs=True)]),
    )
    assert (shown(first), shown(last)) == ("one ", "EN")


def test_a_deadline_reads_as_length() -> None:
    piece = answer()[0].take([output("one", FinishReason.DEADLINE)])
    assert piece is not None and (piece.text, piece.finish_reason) == ("one", "length")


def test_the_gap_between_tokens_is_the_engines() -> None:
    growing, _ = answer()
    end = SequenceOutput(id=7, finish_reason=FinishReason.STOP, timings=SequenceTimings(1.0, 2.0, 6.0))
    for one in (*(SequenceOutput(id=7, tokens=[token]) for token in TOKENIZER.encode("abcd")), end):
        growing.take([one])
    assert growing.token_gap == 6.0 / (growing.tokens - 1)


def test_one_token_has_no_gap() -> None:
    growing, _ = answer()
    growing.take([SequenceOutput(id=7, tokens=[300], finish_reason=FinishReason.LENGTH)])
    assert growing.token_gap is None


def test_an_output_of_timings_alone_is_no_piece() -> None:
    assert answer()[0].take([output("")]) is None


def test_a_sequence_that_the_engine_gave_up_is_a_failure() -> None:
    with pytest.raises(SequenceFailed):
        answer()[0].take([output("", FinishReason.ABORTED)])


@pytest.mark.parametrize("stop", [(), ("order",), ("has not", "s n"), ("my order? It", "der"), ("nowhere",)])
@pytest.mark.parametrize("logprobs", [False, True])
def test_tokens_that_come_together_read_as_if_each_came_alone(stop: tuple[str, ...], logprobs: bool) -> None:
    whole = output("Where is my order? It has not arrived. 👋🏽", FinishReason.LENGTH, logprobs=logprobs)
    together, _ = answer(*stop)
    piece = together.take([whole])
    alone, _ = answer(*stop)
    pieces = []
    for index, token in enumerate(whole.tokens):
        one = SequenceOutput(
            id=7,
            tokens=[token],
            logprobs=whole.logprobs[index : index + 1],
            finish_reason=FinishReason.LENGTH if index == len(whole.tokens) - 1 else None,
        )
        pieces.append(alone.take([one]))
    assert piece is not None
    assert piece.text == "".join(one.text for one in pieces if one)
    assert piece.logprobs == [entry for one in pieces if one for entry in one.logprobs]
    assert (piece.finish_reason, together.tokens) == (alone.finish_reason, alone.tokens)
