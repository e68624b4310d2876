"""find_settled: whatever the pieces that a text comes in, what is masked is what would be masked of the whole."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.masking.growing import LONGEST_SPACED, MOST_HELD, find_settled
from app.masking.kinds import KINDS, NUMBER_KINDS
from app.masking.mask import find, mask, replace

PERSONAL = (
    *("13812345678", "+86 138 1234 5678", "010-62345678", "(415) 555-0132", "0086 138-1234-5678"),
    *("a.b@example.com", "8.8.8.8", "2606:4700:4700::1111", "4111 1111 1111 1111", "622202 4111111111111"),
    *("DE89 3704 0044 0532 0130 00", "11010519491231002X", "91350100M000100Y43", "E12345678"),
    *("sk-abcdefghijklmnopqrstuv", "Bearer abcdefghijklmnopqrst", "Basic YWxhZGRpbjpvcGVu"),
    *("ASIAABCDEFGHIJKLMNOP", "SG.abcdefghijklmnopqrst.abcdefghijklmnopqrst", "ya29.c.abcdefghijklmnopqrst"),
    *("张三@example.com", "li四@例子.公司", "王五.w@mail.example.cn", "a.b@例子.中国", "a@例.xn--fiqs8s"),
    *(
        "110105491231002",
        "01062345678",
        "0755.8234.5678",
        "0731-82345678转801",
        "PE1234567",
        "2606:4:4:1:2:3:4:5:443",
    ),
    *("eyJhbGciOiJI.eyJzdWIiOiIx.abc_def", "１３８１２３４５６７８", "138\u200b12345678"),
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc def\nXYZ+/=\n-----END RSA PRIVATE KEY-----",
)
"""Something of each kind, as it is written by different people."""
BETWEEN = (
    " ",
    "\n",
    ", ",
    "。",
    "订单",
    "邮箱是",
    "@",
    "order",
    "ORDER",
    "A1",
    "12",
    "(",
    ")",
    ".",
    "-",
    "+",
    "x",
    "\u200b",
)

texts = st.lists(
    st.sampled_from(PERSONAL + BETWEEN) | st.text("aZ09 .-+@:/中,\n", max_size=4), max_size=8
).map("".join)


def shown(pieces: list[str]) -> list[str]:
    """What of a text that comes in pieces is shown after each of them, and at its end."""
    held, parts = "", []
    for piece in pieces:
        held += piece
        spans, settled = find_settled(held)
        parts.append(replace(held[:settled], spans))
        held = held[settled:]
    return [*parts, mask(held)]


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=500)
@given(texts, st.lists(st.integers(0, 10_000), max_size=8))
@example("Authorization: Bearer abcdefghijklmnopqrst", [22])
@example("-----BEGIN RSA PRIVATE KEY-----\nabc def ghi", [40, 42])
@example("-----BEGIN RSA PRIVATE KEY-----\nabc DEF--", [])
@example("A张三@例子.公司李四.l@example.com，", [3])
@example("a\n@张三@example.com", [4])
@example("call 4111 1111 1111 1111 now", [10, 15, 20])
def test_pieces_are_masked_like_the_whole(text: str, places: list[int]) -> None:
    assert "".join(shown(cut(text, places))) == mask(text)


@given(texts)
def test_characters_are_masked_like_the_whole(text: str) -> None:
    assert "".join(shown(list(text))) == mask(text)


def test_every_kind_is_among_those_tried() -> None:
    """A kind that nobody tries might be written in a way that no break is known of."""
    assert {span.name for text in PERSONAL for span in find(text)} == {
        kind.name for kind in (*KINDS, *NUMBER_KINDS)
    }


def test_prose_is_held_back_by_a_word() -> None:
    """In Chinese by four characters, since no space shows where the name of an address begins."""
    words = ["Your", " order", " 48213", " has", " left", ",", " and"]
    assert shown(words) == ["", "Your ", "order ", "48213 ", "has ", "left,", " ", "and"]
    assert shown(["新", "订单", "已经", "发货"]) == ["", "", "新", "订单", "已经发货"]
    assert shown(["您的", "订单", "，", "好"]) == ["您的", "", "订单，", "", "好"]
    assert shown(["信箱", "是", "张三", "@", "例子", ".公司", "。"]) == [
        "信箱",
        "是",
        *[""] * 4,
        "[email]。",
        "",
    ]


runs = st.lists(
    st.sampled_from(PERSONAL)
    | st.sampled_from(
        ["1234 " * 30, "HELLO WORLD. ", "NO 5 OF 7 " * 14, "0 1 0 ", "415 ", "A-B.C ", "Bearer "]
    )
    | st.text("A09 -.:", max_size=5),
    min_size=4,
    max_size=14,
).map("".join)


@settings(max_examples=300)
@given(runs)
@example("1" * 100 + " Bearer " + "ab-cd" * 60 + " ")
@example("1234 " * 20 + "010 62345678 " + "1234 " * 40)
@example("A" * 20 + " eyJ" + "a" * 400 + "." + "b" * 400 + ".c d")
@example("A " * 90 + "1" * 64 + "@" + ".".join(["2" * 63] * 8) + ".com A B")
def test_capitals_and_digits_are_masked_like_the_whole(text: str) -> None:
    """Where they are parted at spaces, too."""
    assert "".join(shown(list(text))) == mask(text)


@pytest.mark.parametrize("run", ["HELLO WORLD. ", "1234 ", "3.14 2.72 ", "A1 B2-C3 ", "0 0 1 "])
def test_capitals_and_digits_are_held_back_by_what_has_spaces(run: str) -> None:
    """A heading or a table flows."""
    pieces = list(run * 40)
    held = 0
    for given_now, shown_now in zip(pieces, shown(pieces), strict=False):
        held += len(given_now) - len(shown_now)
        assert held <= LONGEST_SPACED + len(run)


def test_what_never_breaks_is_held_up_to_a_bound() -> None:
    digits = ["1234-"] * 4_000
    held = 0
    for given_now, shown_now in zip(digits, shown(digits), strict=False):
        held += len(given_now) - len(shown_now)
        assert held <= MOST_HELD
