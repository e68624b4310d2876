"""Answer: text, end and early end of one sequence."""

import pytest

from app.engine.messages import FinishReason, SequenceOutput
from app.engine.stream import RequestStream
from app.errors import SequenceFailed
from app.services.answer import Answer
from app.services.tokenizer import Tokenizer
from tests.toy_tokenizer import toy_directory

TOKENIZER = Tokenizer.from_directory(toy_directory())


def answer(*stop: str) -> tuple[Answer, list[int]]:
    aborted: list[int] = []
    return Answer(0, RequestStream(7, aborted.append), TOKENIZER, stop), aborted


def output(text: str, finish: FinishReason | None = None) -> SequenceOutput:
    return SequenceOutput(id=7, tokens=TOKENIZER.encode(text), finish_reason=finish)


def test_a_stop_string_aborts_the_sequence_at_once() -> None:
    growing, aborted = answer("END")
    piece = growing.take(output("one END two"))
    assert piece is not None and (piece.text, piece.finish_reason) == ("one ", "stop")
    assert aborted == [7]
    assert growing.take(output("more")) is None


def test_held_back_text_comes_with_the_end() -> None:
    growing, aborted = answer("END")
    first, last = growing.take(output("one EN")), growing.take(output("", FinishReason.LENGTH))
    assert first is not None and first.text == "one "
    assert last is not None and (last.text, last.finish_reason) == ("EN", "length")
    assert aborted == []


def test_a_sequence_that_the_engine_gave_up_is_a_failure() -> None:
    with pytest.raises(SequenceFailed):
        answer()[0].take(output("", FinishReason.ABORTED))
