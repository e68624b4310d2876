"""`app bench` against the real service: it finds the model by itself, and every chat is answered and counted."""

import json

import pytest

from app.bench import command
from tests.service.running_service import Service


@pytest.mark.parametrize("load", [["--concurrency", "2"], ["--rate", "50", "--most-lag", "10"]])
def test_every_request_is_answered(
    service: Service, load: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    options = ["--requests", "8", "--max-tokens", "4", "--json"]
    assert command.run(["--url", service.url, *options, *load]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["requests"], told["failed"]) == (8, 0)
    assert told["generated_tokens"] > 0 and told["time_to_first_token_seconds"]["p99"] > 0
