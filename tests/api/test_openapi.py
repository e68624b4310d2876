"""The OpenAPI document says what the service does where no schema of the framework's does."""

import pytest

from tests.api.conftest import build_app
from tests.fakes import FakeEngine


def test_fields_that_cannot_be_honoured_are_documented_with_what_they_may_be() -> None:
    fields = build_app(FakeEngine()).openapi()["components"]["schemas"]["ChatRequest"]["properties"]
    assert fields["tools"]["enum"] == [None, []]
    assert fields["tool_choice"]["enum"] == [None, "none", "auto"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_both_forms_of_an_answer_are_documented(path: str) -> None:
    answer = build_app(FakeEngine()).openapi()["paths"][path]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "text/event-stream"}
