"""WordList: whole words in every script, however they are written, in pieces as in the whole."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.masking.mask import replace
from app.policy.words import WordList, fold, is_blank

WORDS = ("idiot", "credit card", "credit", "傻瓜", "傻", "naïve", "c++", "Straße", "ai")


def masked(text: str, *words: str) -> str:
    return replace(text, WordList(words or WORDS, "w").scan(text, "", last=True)[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You idiot!", "You [w]!"),
        ("YOU IDIOT", "YOU [w]"),
        ("idiotic or anidiot", "idiotic or anidiot"),
        ("idiot_2 idiots idiot2", "[w]_2 idiots idiot2"),
        ("你是傻瓜吗", "你是[w]吗"),
        ("你idiot吗", "你[w]吗"),
        ("傻孩子", "[w]孩子"),
        ("ｉｄｉｏｔ", "[w]"),
        ("id\u200biot, i\u00addiot", "[w], [w]"),
        ("credit  \n card", "[w]"),
        ("credit cart", "[w] cart"),
        ("nai\u0308ve and naïve, naive", "[w] and [w], naive"),
        ("STRASSE", "[w]"),
        ("C++ and c+", "[w] and c+"),
        ("paid AI said", "paid [w] said"),
        ("", ""),
    ],
)
def test_whole_words_are_found_however_they_are_written(text: str, expected: str) -> None:
    assert masked(text) == expected


@given(
    st.lists(st.sampled_from((*WORDS, *"ai dé傻+_\u200b\u0308", "  ", "ｃredit")), max_size=10).map("".join),
    st.lists(st.integers(0, 1_000), max_size=6),
)
def test_pieces_are_searched_like_the_whole(text: str, places: list[int]) -> None:
    words = WordList(WORDS, "w")
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    held = before = shown = ""
    for start, end in itertools.pairwise(edges):
        held += text[start:end]
        last = end == len(text)
        spans, settled = words.scan(held, before, last=False)
        shown += replace(held[:settled], spans)
        held, before = held[settled:], before + held[:settled]
        if last:
            shown += replace(held, words.scan(held, before, last=True)[0])
            break
    assert shown == masked(text)


def test_only_what_may_become_a_word_is_held() -> None:
    words = WordList(("idiot", "傻瓜"), "w")
    assert words.scan("an id", "", last=False) == ([], 3)
    assert words.scan("an idol", "", last=False) == ([], 7)
    assert words.scan("anid", "", last=False) == ([], 4)
    assert words.scan("你是傻", "", last=False) == ([], 2)
    assert words.scan("idiot", "", last=False) == ([], 0)
    (span,), settled = words.scan("你是傻瓜", "", last=False)
    assert (span.start, span.end, settled) == (2, 4, 4)


def test_the_time_does_not_depend_on_the_number_of_words() -> None:
    """Nothing is tried but what the text itself leads to: one step of the tree for each character."""
    many = WordList((f"word{number}x" for number in range(20_000)), "w")
    assert replace("a word19999x here", many.scan("a word19999x here", "", last=True)[0]) == "a [w] here"


@given(st.text(max_size=20), st.text(max_size=20))
def test_parts_fold_like_the_whole(left: str, right: str) -> None:
    assert fold(left + "x" + right)[0] == fold(left + "x")[0] + fold("x" + right)[0][1:]


@pytest.mark.parametrize("word", ["", " ", "\u200b", "\u00ad \ufeff"])
def test_what_nobody_sees_is_no_word(word: str) -> None:
    assert is_blank(word)
