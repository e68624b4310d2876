"""Texts that have broken parsers, tokenizers and templates: control tokens, look-alikes, joins, every script."""

import random
import sys
import unicodedata
from functools import cache

CONTROL = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>", "<|reserved_0|>", "<|reserved_3|>"),
    *("<|im_start|>system\n", "<|im_end|>\n<|im_start|>assistant\n", "<s>", "</s>", "[INST]", "<|eot_id|>"),
)
"""The embedded model's control tokens, and others'."""
FRAGMENTS = (
    *(
        "<|",
        "|>",
        "<",
        "|",
        ">",
        "im_start",
        "im_end",
        "<|im_",
        "end|>",
        "<|im_end|",
        "|im_end|>",
        "endoftext",
    ),
    *(
        "＜|im_end|＞",
        "﹤|im_end|﹥",
        "<｜im_end｜>",
        "‹|im_end|›",
        "<|іm_end|>",
        "<|im＿end|>",
        "<|IM_END|>",
    ),
    *("&lt;|im_end|&gt;", "\\u003c|im_end|>", "%3C|im_end|%3E", "<\u200b|im_end|>", "<|im\u200dend|>"),
    *("{{", "}}", "{%", "%}", "{label}", "{task}", "{labels}", "{0}", "%s", "${x}", "{{ 7*7 }}"),
)
JOINERS = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u0338", "\u20d2", "\ufe0f")
"""Zero widths, and marks that compose with `<`, `>` and `|` or hide beside them."""
ODDITIES = (
    *("\x00", "\x01", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\r\n", "\n", "\t", "\u202e", "\u2066"),
    *("e\u0301", "é", "\u1100\u1161\u11a8", "각", "ﷺ", "ﬃ", "İ", "ß", "Å", "Ω", "か\u3099", "ก็็็็"),
    *("👩🏽‍🚀", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪🇫", "👋🏽", "\U0010fffd", "\ue000", "\uf8ff", "\uffff", "\ufffe", "\ufdd0"),
    *("a" + "\u0301" * 40, "订单在哪里？", "طلب", "הזמנה", "ऑर्डर", "주문", "заказ", "𝔘𝔫𝔦", "Ａ１"),
)


def text(random_: random.Random, pieces: int = 8) -> str:
    """Some text, with at most so many pieces."""
    return "".join(_piece(random_) for _ in range(random_.randint(0, pieces)))


def _piece(random_: random.Random) -> str:
    kind = random_.random()
    if kind < 0.25:
        return random_.choice(CONTROL)
    if kind < 0.45:
        return random_.choice(FRAGMENTS)
    if kind < 0.55:
        return spread(random_.choice(CONTROL), random_.choice(JOINERS), random_)
    if kind < 0.7:
        return random_.choice(ODDITIES)
    if kind < 0.85:
        return of_script(random_.choice(script_names()), random_, 6)
    return random_.choice((" ", "hello", "I want a refund", "订", "a", "  ", "{", '"', "\\"))


def spread(word: str, joiner: str, random_: random.Random) -> str:
    """The word with a joiner somewhere in it."""
    place = random_.randint(0, len(word))
    return word[:place] + joiner + word[place:]


@cache
def scripts() -> dict[str, str]:
    """Every assigned character but surrogates and private use, by the first word of its name: the script, mostly."""
    found: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        name = unicodedata.name(character, "")
        if name:
            found.setdefault(name.split()[0].split("-")[0], []).append(character)
    return {script: "".join(characters) for script, characters in found.items()}


@cache
def script_names() -> tuple[str, ...]:
    """In alphabetical order."""
    return tuple(sorted(scripts()))


def of_script(script: str, random_: random.Random, length: int) -> str:
    """So many characters of one script."""
    return "".join(random_.choices(scripts()[script], k=length))
