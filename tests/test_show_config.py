"""`python -m app config`: values, defaults and sources; wrong settings end it like a start."""

import json
import os

import pytest
from pydantic import SecretStr

from app import show_config
from app.settings import PREFIX, Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert show_config.main(["--json"]) == 0
    return {entry.pop("variable"): entry for entry in json.loads(capsys.readouterr().out)}


def test_json_has_every_setting_with_value_default_and_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPARTEE_PORT", "9000")
    monkeypatch.setenv("repartee_device", "auto")
    monkeypatch.setenv("REPARTEE_API_KEYS_FILE", "/etc/repartee/keys.json")
    monkeypatch.setenv("REPARTEE_CORS_ORIGINS", "https://a.example,https://b.example")
    settings = shown(capsys)
    assert list(settings) == [PREFIX + name.upper() for name in Settings.model_fields]
    assert settings["REPARTEE_PORT"] == {"value": 9000, "default": 8000, "source": "environment"}
    assert settings["REPARTEE_HOST"] == {"value": "127.0.0.1", "default": "127.0.0.1", "source": "default"}
    assert settings["REPARTEE_DEVICE"]["source"] == "environment"
    assert settings["REPARTEE_API_KEYS_FILE"]["value"] == "/etc/repartee/keys.json"
    assert settings["REPARTEE_CORS_ORIGINS"]["value"] == ["https://a.example", "https://b.example"]


def test_the_table_says_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REPARTEE_PREFIX_CACHE", "false")
    assert show_config.main([]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["setting", "value", "source", "default"]
    assert ["REPARTEE_PREFIX_CACHE", "false", "environment", "true"] in rows
    assert ["REPARTEE_API_KEYS_FILE", "-", "default", "-"] in rows


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class WithSecret(Settings):
        token: SecretStr = SecretStr("hidden-by-default")

    monkeypatch.setattr(show_config, "Settings", WithSecret)
    monkeypatch.setattr(show_config, "load_settings", lambda: WithSecret(token=SecretStr("hunter2")))
    for options in ([], ["--json"]):
        assert show_config.main(options) == 0
        printed = capsys.readouterr().out
        assert "REPARTEE_TOKEN" in printed and "hunter2" not in printed and "hidden" not in printed


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REPARTEE_PROT", "1", "did you mean REPARTEE_PORT"),
        ("REPARTEE_PORT", "many", "REPARTEE_PORT: "),
        ("REPARTEE_HOST", "0.0.0.0", "REPARTEE_API_KEYS_FILE"),
    ],
)
def test_a_wrong_setting_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    assert show_config.main([]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert words in line and printed.out == ""


def test_an_unknown_option_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        show_config.main(["--jsn"])
    assert end.value.code == 2
