"""Strict JSON: one document of ordinary values, or a refusal."""

import json
import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import strict_json
from app.api.strict_json import (
    INLINE_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_KEYS,
    MAX_VALUES,
    StrictRequest,
    parse,
)
from app.errors import InvalidJson, TooManyKeys

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(documents, st.booleans())
def test_what_json_can_say_is_read(value: object, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"[1,]",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": "line\nbreak"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" * 500_000,
        b"[" * (MAX_DEPTH + 1)
        + b'"'
        + b'\\"' * 500_000,  # never ends, and must not be scanned anew at each quote
        b"[" + b"{}," * MAX_CONTAINERS + b"{}]",
    ],
)
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse(body)


def test_an_object_with_too_many_keys_is_json_all_the_same() -> None:
    def body(keys: int) -> bytes:
        return b'{"logit_bias": {' + b",".join(b'"%d":0' % key for key in range(keys)) + b"}}"

    assert len(parse(body(MAX_KEYS))["logit_bias"]) == MAX_KEYS
    with pytest.raises(TooManyKeys, match="1,024 keys"):
        parse(body(MAX_KEYS + 1))


def test_depth_is_what_counts_and_not_the_number_of_brackets() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert len(parse(b"[" + b"[]," * 1000 + b"[]]")) == 1001
    assert parse(rb'["\"' + b"[" * 100 + b'"]') == ['"' + "[" * 100]


def test_values_are_counted_and_commas_of_text_are_none() -> None:
    assert len(parse(b"[" + b"0," * MAX_VALUES + b"0]")) == MAX_VALUES + 1
    with pytest.raises(InvalidJson):
        parse(b"[" + b"0," * (MAX_VALUES + 1) + b"0]")
    with pytest.raises(InvalidJson):
        parse(b"[" * (MAX_DEPTH + 1) + b'"' * (8 * MAX_VALUES))
    text = "," * (2 * MAX_VALUES)
    assert parse(json.dumps([text]).encode()) == [text]


@given(st.lists(st.sampled_from([b'"', b"\\", b"[", b"a", b",", b"x" * 7])).map(b"".join))
def test_what_lies_outside_of_strings_is_the_same_in_slices(body: bytes) -> None:
    if re.sub(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?$)', b"", body).count(b"\\"):
        return  # no JSON, whatever is made of it
    whole = re.sub(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?$)', b"", body)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strict_json, "_SLICE_BYTES", 3)
        assert strict_json._outside_of_strings(body) == whole


def test_escaped_pairs_and_escaped_backslashes_are_text() -> None:
    assert parse(rb'["\ud83d\udc4b", "\\ud800"]') == ["👋", "\\ud800"]


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "on_the_loop"), [(INLINE_BYTES, True), (INLINE_BYTES + 1, False)])
async def test_long_bodies_are_parsed_off_the_event_loop(
    size: int, on_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def watched(body: bytes) -> Any:
        threads.append(threading.get_ident())
        return parse(body)

    async def receive() -> Any:
        return {"type": "http.request", "body": b'"' + b"x" * (size - 2) + b'"'}

    monkeypatch.setattr(strict_json, "parse", watched)
    request = StrictRequest({"type": "http", "headers": []}, receive)
    assert [await request.json() for _ in range(2)] == ["x" * (size - 2)] * 2
    assert [thread == threading.get_ident() for thread in threads] == [on_the_loop]


@pytest.mark.anyio
async def test_a_refusal_crosses_the_threads() -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"[" * (INLINE_BYTES + 1)}

    with pytest.raises(InvalidJson):
        await StrictRequest({"type": "http", "headers": []}, receive).json()
