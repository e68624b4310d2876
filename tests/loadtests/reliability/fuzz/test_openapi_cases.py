"""Cases made from the OpenAPI document: answers that the document does not have are told."""

from itertools import islice
from typing import Any

import pytest

from loadtests.reliability.fuzz.attempt import Site
from loadtests.reliability.fuzz.openapi_cases import OpenApiCases
from loadtests.reliability.fuzz.wire import Reply
from tests.api.conftest import build_app
from tests.fakes import FakeEngine

SITE = Site("127.0.0.1", 1, "toy", "key", "narrow", "limited")
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_app(FakeEngine()).openapi()


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(400, JSON, b'{"detail": 5}', True), "Response violates schema"),
        (Reply(418, JSON, b"{}", True), "Response violates schema"),
        (Reply(500, JSON, b"{}", True), "Server error"),
        (Reply(400, {"content-type": "text/html"}, b"no", True), "Undocumented Content-Type"),
        (Reply(200, JSON, b"{}", True), "Schema-violating request accepted"),
    ],
)
def test_what_the_document_does_not_have_is_a_fault(
    document: dict[str, Any], reply: Reply, fault: str
) -> None:
    cases = OpenApiCases(document, SITE, 1)
    found = [cases.faults(attempt, reply) for attempt in islice(cases.attempts(), 60)]
    assert any(one.startswith(fault) for faults in found for one in faults), found


def test_a_bad_body_that_is_too_large_is_refused_as_such(document: dict[str, Any]) -> None:
    cases, refusal = OpenApiCases(document, SITE, 1), Reply(413, JSON, b"{}", True)
    found = [
        cases.faults(attempt, refusal)
        for attempt in islice(cases.attempts(), 60)
        if "negative" in attempt.what
    ]
    assert found and not any(fault.startswith("Schema-violating") for faults in found for fault in faults)


def test_a_stream_is_what_the_document_says(document: dict[str, Any]) -> None:
    cases = OpenApiCases(document, SITE, 1)
    stream = Reply(
        200,
        {"content-type": "text/event-stream; charset=utf-8"},
        b'data: {"id": 1}\n\ndata: [DONE]\n\n',
        True,
    )
    found = [
        cases.faults(attempt, stream)
        for attempt in islice(cases.attempts(), 200)
        if "completions, positive" in attempt.what
    ]
    assert found and not any("SSE" in fault or "schema" in fault for faults in found for fault in faults), (
        found
    )
