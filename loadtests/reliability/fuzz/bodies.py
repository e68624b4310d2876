"""Requests whose JSON is wrong somewhere: well-formed ones, changed in their values, their text or their envelope."""

import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from loadtests.reliability.fuzz.attempt import CANARY, Attempt, Expected, Piece, Site, chooser, head, post
from loadtests.reliability.fuzz.texts import text

SOURCE = "json"
_VOCABULARY = 4096


class Verbatim(bytes):
    """A value as it is to be written."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may repeat."""


NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 5, 255, 256, 257, _VOCABULARY - 1, _VOCABULARY, _VOCABULARY + 1, 2**31 - 1, 2**31, 2**32),
    *(2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 0.0, -0.0, 0.5, 1.0, 1.5, -100.5),
    *(1e-300, 1e308, 2.0000001),
    *map(
        Verbatim,
        (
            *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1E-400", b"1e5", b"1" * 5000),
            *(b"-" + b"9" * 5000, b"0." + b"3" * 5000, b"01", b"+1", b".5", b"1.", b"0x10", b"1_000", b"--1"),
        ),
    ),
)
WORDS: tuple[Any, ...] = (
    *("", " ", "\x00", CANARY, "1", "true", "null", "\n", "x" * 300, CANARY * 400, "..", "../../etc/passwd"),
    *map(
        Verbatim,
        (
            *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\\x41"', b'"\xff"'),
            *(b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\n"', b"'single'", b'"open', b'"\xf4\x90\x80\x80"'),
        ),
    ),
)
SHAPES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {CANARY: CANARY},
        [CANARY],
        [1, "1", None],
        [[1], [2]],
    ),
    *map(
        Verbatim,
        (
            *(b"[" * 31 + b"]" * 31, b"[" * 33 + b"]" * 33, b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40),
            *(
                b"[" * 100_000 + b"]" * 100_000,
                b"[" + b"1," * 50_000 + b"1]",
                b"[" + b"{}," * 20_000 + b"{}]",
            ),
            b"{" + b",".join(b'"k%d":1' % number for number in range(1100)) + b"}",
            b"{" + b",".join(b'"%d":1' % number for number in range(300)) + b"}",
            *(b"[1,]", b"{,}", b"undefined", b"/* c */ 1", b'{"a" 1}', b"[1 2]"),
        ),
    ),
)
FIELDS = (
    *(
        "model",
        "messages",
        "prompt",
        "input",
        "labels",
        "questions",
        "state",
        "tokens",
        "stream",
        "stream_options",
    ),
    *(
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "n",
        "best_of",
        "stop",
        "seed",
    ),
    *(
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    ),
    *(
        "min_tokens",
        "ignore_eos",
        "stop_token_ids",
        "priority",
        "cache_salt",
        "user",
        "metadata",
        "tools",
        "tool_choice",
    ),
    *(
        "response_format",
        "functions",
        "audio",
        "modalities",
        "echo",
        "suffix",
        "threshold",
        "top_k",
        "multi_label",
    ),
    *(
        "task",
        "instructions",
        "prompt_cache_key",
        "__proto__",
        "constructor",
        "model_config",
        CANARY,
        "",
        "\x00",
    ),
)


def _words(random_: random.Random) -> str:
    return random_.choice((CANARY, "I want a refund.", f"{CANARY} {text(random_)}", text(random_)))


def _generation(site: Site, random_: random.Random) -> list[tuple[str, Any]]:
    """Fields that chat and completions share: some of them, most with good values."""
    ids = (0, 2, 7, _VOCABULARY - 1)
    some: dict[str, Callable[[], Any]] = {
        "temperature": lambda: random_.choice((0, 0.0, 0.7, 2)),
        "top_p": lambda: random_.choice((0.1, 1, 1e-9)),
        "top_k": lambda: random_.choice((-1, 0, 1, 5, 4096)),
        "min_p": lambda: random_.choice((0, 0.5, 1)),
        "n": lambda: random_.choice((1, 2, 4)),
        "stop": lambda: random_.choice((" ", ["e", " "], text(random_)[:60] or "x", [])),
        "seed": lambda: random_.choice((0, -1, 2**63 - 1)),
        "logit_bias": lambda: {str(random_.choice(ids)): random_.choice((-100, 0, 100))},
        "frequency_penalty": lambda: random_.choice((-2, 0, 2)),
        "repetition_penalty": lambda: random_.choice((0.01, 1, 10)),
        "min_tokens": lambda: random_.choice((0, 1, 3)),
        "ignore_eos": lambda: random_.random() < 0.5,
        "stop_token_ids": lambda: [random_.choice(ids)],
        "priority": lambda: random_.choice((-100, 0, 100)),
        "cache_salt": lambda: text(random_)[:200],
        "user": lambda: CANARY,
    }
    chosen = random_.sample(sorted(some), random_.randint(0, 5))
    made = [(name, some[name]()) for name in chosen]
    if random_.random() < 0.4:
        made.append(("stream", True))
        if random_.random() < 0.5:
            made.append(("stream_options", _pairs(include_usage=True)))
    return [("model", site.model), ("max_tokens", random_.randint(1, 8)), *made]


def _chat(site: Site, random_: random.Random) -> Pairs:
    roles = ("system", "developer", "user", "assistant")
    messages = [
        _pairs(
            role=random_.choice(roles),
            content=_words(random_)
            if random_.random() < 0.7
            else [_pairs(type="text", text=_words(random_)) for _ in range(random_.randint(1, 3))],
        )
        for _ in range(random_.randint(1, 4))
    ]
    logprobs = [("logprobs", True), ("top_logprobs", random_.randint(0, 20))]
    extra = logprobs if random_.random() < 0.3 else []
    return Pairs([*_generation(site, random_), ("messages", messages), *extra])


def _completion(site: Site, random_: random.Random) -> Pairs:
    ids = [random_.randrange(_VOCABULARY) for _ in range(random_.randint(1, 20))]
    prompt = random_.choice((_words(random_), ids, [ids, ids], [_words(random_), "a"]))
    extra = [("logprobs", random_.randint(0, 5))] if random_.random() < 0.3 else []
    return Pairs([*_generation(site, random_), ("prompt", prompt), *extra])


def _labels(random_: random.Random) -> list[str]:
    made = [f"{CANARY}{number}" for number in range(random_.choice((1, 2, 3, 3, 30, 255, 256)))]
    if random_.random() < 0.4:
        made += random_.choice((["é", "e\u0301"], ["a", " a"], [""], ["a\nb"], ["x" * 129], ["\u212b", "Å"]))
    return made + ([text(random_)[:128]] if random_.random() < 0.4 else [])


def _classify(site: Site, random_: random.Random) -> Pairs:
    labels: list[Any] = list(_labels(random_))
    if random_.random() < 0.3:
        labels = [_pairs(label=label, description=_words(random_)) for label in labels]
    some = [
        ("instructions", _words(random_)),
        ("threshold", random_.random()),
        ("top_k", random_.randint(1, 300)),
        ("multi_label", len(labels) < 5),
    ]
    texts = [_words(random_) for _ in range(random_.choice((1, 2, 32, 33)))]
    given = random_.choice((_words(random_), texts if len(labels) < 10 else texts[:2]))
    body = [("model", site.model), ("input", given), ("labels", labels)]
    return Pairs([*body, *random_.sample(some, random_.randint(0, 3))])


def _question(random_: random.Random) -> Pairs:
    kind = random_.choice(("predicate", "choice", "score"))
    made = _pairs(type=kind, instructions=_words(random_) or CANARY)
    if random_.random() < 0.5:
        made.append(("name", _words(random_)[:128]))
    if kind == "choice":
        values: list[Any] = [*_labels(random_), *random_.choice(([], [True, False], [True, "true"]))]
        made.append(("choices", [_pairs(value=value) for value in values]))
    if kind == "score":
        made.append(("levels", [_pairs(label=label) for label in _labels(random_)]))
    return made


def _decisions(site: Site, random_: random.Random) -> Pairs:
    said = [_pairs(role="user", content=_words(random_)) for _ in range(random_.randint(1, 3))]
    questions = [
        _question(random_) for _ in range(random_.choice((1, 1, 2, 64, 65) if len(said) < 2 else (1, 2)))
    ]
    return Pairs(
        [("model", site.model), ("input", random_.choice((_words(random_), said))), ("questions", questions)]
    )


def _system_one(site: Site, random_: random.Random) -> Pairs:
    queries = (
        lambda: _pairs(type="noul", instructions=_words(random_)),
        lambda: _pairs(type="noul", criteria=_pairs(true=_words(random_), false=None)),
        lambda: _pairs(type="score", criteria=_labels(random_)),
        lambda: _pairs(type="choice", criteria=Pairs((label, _words(random_)) for label in _labels(random_))),
    )
    questions = Pairs(
        (_words(random_)[:128], random_.choice(queries)()) for _ in range(random_.randint(1, 3))
    )
    state = random_.choice((_words(random_), _pairs(said=_words(random_), n=[1, 2, None]), [CANARY, {}]))
    return _pairs(model=site.model, state=state, questions=questions)


def _tokenize(site: Site, random_: random.Random) -> Pairs:
    if random_.random() < 0.5:
        return _pairs(prompt=_words(random_))
    return _pairs(messages=[_pairs(role="user", content=_words(random_))])


def _detokenize(site: Site, random_: random.Random) -> Pairs:
    return _pairs(
        tokens=[random_.choice((0, 2, 300, _VOCABULARY - 1)) for _ in range(random_.randint(0, 30))]
    )


def _pairs(**fields: Any) -> Pairs:
    return Pairs(fields.items())


ROUTES: dict[str, Callable[[Site, random.Random], Pairs]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/classify": _classify,
    "/v1/decisions": _decisions,
    "/v1/systemone": _system_one,
    "/tokenize": _tokenize,
    "/detokenize": _detokenize,
}


def attempt(site: Site, seed: int, index: int) -> Attempt:
    """One such request."""
    random_ = chooser(seed, SOURCE, index)
    route = random_.choice(sorted(ROUTES))
    document = ROUTES[route](site, random_)
    done = [_change(document, random_) for _ in range(random_.choice((0, 0, 1, 1, 1, 2, 3)))]
    body = render(document, ascii_=random_.random() < 0.5)
    if random_.random() < 0.15:
        name, change = random_.choice(TEXT_CHANGES)
        done.append(name)
        body = change(body, random_)
    what, data, pieces = _envelope(site, route, body, random_)
    done += [what] if what else []
    named = f"{route}: {', '.join(done) or 'nothing wrong'}"
    return Attempt(SOURCE, index, named, pieces or (Piece(data),), Expected.WHOLE)


def _change(document: Pairs, random_: random.Random) -> str:
    """Change one place of the document; returns what was done."""
    holder: list[Any] = document
    while True:  # a walk down
        inner = [value for _, value in _items(holder) if isinstance(value, list)]
        if not inner or random_.random() < 0.4:
            break
        holder = random_.choice(inner)
    value, kind = _bad_value(random_)
    if isinstance(holder, Pairs):
        return _change_object(holder, value, kind, random_)
    if holder and random_.random() < 0.7:
        holder[random_.randrange(len(holder))] = value
        return f"an item is {kind}"
    holder.append(value)
    return f"one more item, {kind}"


def _change_object(holder: Pairs, value: Any, kind: str, random_: random.Random) -> str:
    place = random_.randrange(len(holder)) if holder else 0
    name = holder[place][0] if holder else ""
    shown = name if name in FIELDS else "a field"
    match random_.choice(("replace", "replace", "replace", "add", "remove", "repeat", "rename")):
        case "replace" if holder:
            holder[place] = (name, value)
            return f"{shown} is {kind}"
        case "remove" if holder:
            del holder[place]
            return f"no {shown}"
        case "repeat" if holder:
            holder.append((name, value))
            return f"{shown} twice"
        case "rename" if holder:
            holder[place] = (random_.choice(FIELDS), holder[place][1])
            return f"{shown} renamed"
    added = random_.choice(FIELDS)
    holder.append((added, value))
    return f"and {added!a}, {kind}"


def _items(holder: list[Any]) -> list[tuple[Any, Any]]:
    return list(holder) if isinstance(holder, Pairs) else list(enumerate(holder))


def _bad_value(random_: random.Random) -> tuple[Any, str]:
    kind, values = random_.choice(
        (("a number", NUMBERS), ("a text", WORDS), ("a shape", SHAPES), ("odd", None))
    )
    return (
        (CANARY + text(random_, 12), "odd text")
        if values is None
        else (deepcopy(random_.choice(values)), kind)
    )


def render(value: Any, *, ascii_: bool) -> bytes:
    """JSON text of the value, its keys in order."""
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, Pairs):
        return (
            b"{"
            + b",".join(render(k, ascii_=ascii_) + b":" + render(v, ascii_=ascii_) for k, v in value)
            + b"}"
        )
    if isinstance(value, list):
        return b"[" + b",".join(render(one, ascii_=ascii_) for one in value) + b"]"
    return json.dumps(value, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")


def _insert(body: bytes, random_: random.Random, what: Sequence[bytes]) -> bytes:
    place = random_.randint(0, len(body))
    return body[:place] + random_.choice(what) + body[place:]


def _flip(body: bytes, random_: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(random_.randint(1, 5)):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


TEXT_CHANGES: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("cut off", lambda body, r: body[: r.randrange(len(body))]),
    ("two documents", lambda body, r: body + r.choice((b"", b" ", b"\n", b",")) + body),
    ("a byte order mark", lambda body, r: b"\xef\xbb\xbf" + body),
    ("UTF-16", lambda body, r: body.decode("utf-8", "replace").encode(r.choice(("utf-16", "utf-16-le", "utf-16-be")))),
    ("UTF-32", lambda body, r: body.decode("utf-8", "replace").encode("utf-32")),
    ("Latin-1", lambda body, r: body.decode("utf-8", "replace").encode("latin-1", "replace") + b"\xe9"),
    ("bytes that are no UTF-8", lambda body, r: _insert(body, r, (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80"))),
    ("a control character", lambda body, r: _insert(body, r, (b"\x00", b"\x01", b"\x1f", b"\x7f", b"\r"))),
    ("bytes changed", _flip),
    ("no JSON", lambda body, r: r.choice((b"", b" ", b"null", b"[]", b"1", b'""', CANARY.encode(), b"{" * 9999))),
    ("white space around", lambda body, r: b" \r\n\t" * r.choice((1, 1000)) + body + b"\n"),
    ("too large", lambda body, r: body + b" " * (1 << 20)),
    ("nearly too large", lambda body, r: body + b" " * ((1 << 20) - len(body))),
)  # fmt: skip
_CONTENT_TYPES = (
    *(
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonx",
    ),
    *("application/json; charset=utf-16", "APPLICATION/JSON", CANARY, "application/json, text/plain", "*/*"),
)
_DEADLINES = ("0", "-1", "1", "x", CANARY, "9" * 30, "1.5", "١", "", " 5 ", "999999999")


def _envelope(
    site: Site, route: str, body: bytes, random_: random.Random
) -> tuple[str, bytes, tuple[Piece, ...]]:
    """The head and how the body is sent: plainly, mostly."""
    length = ("Content-Length", str(len(body)))
    typed = ("Content-Type", "application/json")
    match random_.choice(
        (*["plain"] * 14, "type", "deadline", "target", "key", "chunked", "pieces", "encoded", "ids")
    ):
        case "type":
            fields = [("Content-Type", random_.choice(_CONTENT_TYPES)), length]
            return "another content type", head(site, "POST", route, fields) + body, ()
        case "deadline":
            deadline = ("X-Request-Timeout-Ms", random_.choice(_DEADLINES).encode().decode("latin-1"))
            return "an odd deadline", post(site, route, body, [deadline]), ()
        case "target":
            target = random_.choice(
                (
                    f"{route}/",
                    f"//{route}",
                    f"{route}?{CANARY}=1",
                    f"/{CANARY}",
                    f"{route}%2f..",
                    f"{route}%00",
                    "/",
                    "*",
                )
            )
            return "another target", post(site, target, body), ()
        case "key":
            key = random_.choice(
                (site.narrow, site.limited, site.limited, CANARY, "", site.key + "x", "\xff")
            )
            return "another key", head(site, "POST", route, [typed, length], key) + body, ()
        case "chunked":
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _split(body, random_))
            fields = [typed, ("Transfer-Encoding", "chunked")]
            return "chunked", head(site, "POST", route, fields) + chunks + b"0\r\n\r\n", ()
        case "pieces":
            data = post(site, route, body)
            return "in pieces", data, tuple(Piece(part, 0.002) for part in _split(data, random_))
        case "encoded":
            encoding = ("Content-Encoding", random_.choice(("gzip", "deflate", "br", CANARY)))
            return "an encoding", post(site, route, body, [encoding]), ()
        case "ids":
            given = random_.choice(("a" * 64, "a" * 65, CANARY, "a b", "x\ty", "é"))
            trace = ("Traceparent", random_.choice(("00-" + "0" * 32 + "-" + "0" * 16 + "-01", CANARY)))
            return "odd ids", post(site, route, body, [("X-Request-Id", given), trace]), ()
    return "", post(site, route, body), ()


def _split(data: bytes, random_: random.Random) -> list[bytes]:
    places = sorted(random_.randint(0, len(data)) for _ in range(random_.randint(1, 6)))
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [part for part in parts if part]
