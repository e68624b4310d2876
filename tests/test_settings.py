"""Settings: what is misspelt or out of bounds is refused by name, and the engine gets its slice."""

import os

import pytest
from pydantic import ValidationError

from app.engine.config import EngineConfig
from app.settings import PREFIX, Settings, UnknownSetting, explain, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_a_misspelt_variable_is_refused_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_PROT", "9000")
    with pytest.raises(UnknownSetting, match=r"REPARTEE_PROT.*did you mean REPARTEE_PORT"):
        load_settings()


def test_a_variable_like_no_other_is_refused_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_QQQQQQQQ", "1")
    with pytest.raises(UnknownSetting) as refusal:
        load_settings()
    assert "did you mean" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("DEVICE", "tpu"),
        ("QUANTIZATION", "int3"),
        ("KV_CACHE_MEMORY_RATIO", "1.0"),
        ("BLOCK_SIZE", "0"),
        ("MAX_BATCH_TOKENS", "8"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("DRAIN_SECONDS", "-1"),
        ("DRAIN_SECONDS", "inf"),
        ("SEED", "-1"),
        ("SEED", str(1 << 63)),
        ("KV_CACHE_TOKENS", str(1 << 31)),
        ("MAX_RUNNING", str(10**30)),
        ("THREADS", "1025"),
        ("MODEL", ""),
        ("METRICS_BUCKETS", "{"),
        ("STATUS_LOG_SECONDS", "-1"),
        ("TRACES_SAMPLE_RATIO", "1.5"),
        ("TRACES_SAMPLE_RATIO", "-0.1"),
        ("TRACES_ENDPOINT", "collector:4318"),
        ("TRACES_ENDPOINT", "grpc://collector:4317"),
        ("TRACES_ENDPOINT", "http://"),
        ("TRACES_ENDPOINT", "http://collector:many"),
        ("TRACES_ENDPOINT", "http://[::1"),
        ("TRACES_ENDPOINT", "https://user:secret@collector/v1/traces"),
        ("TRACES_ENDPOINT", "https://collector/v1/traces?key=secret"),
    ],
)
def test_a_value_out_of_bounds_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError) as refusal:
        load_settings()
    assert [problem["loc"] for problem in refusal.value.errors()] == [(name.lower(),)]


def test_variables_are_read_and_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_PORT", "9000")
    monkeypatch.setenv("repartee_host", "127.0.0.2")
    settings = load_settings()
    assert (settings.port, settings.host) == (9000, "127.0.0.2")
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", []),
        ("https://a.example", ["https://a.example"]),
        ("https://a.example, https://b.example,", ["https://a.example", "https://b.example"]),
    ],
)
def test_origins_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, origins: list[str]
) -> None:
    monkeypatch.setenv("REPARTEE_CORS_ORIGINS", value)
    assert load_settings().cors_origins == origins


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", ""),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://traces.example/otlp/v1/traces", "https://traces.example/otlp/v1/traces"),
    ],
)
def test_a_collector_without_a_path_gets_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, value: str, url: str
) -> None:
    monkeypatch.setenv("REPARTEE_TRACES_ENDPOINT", value)
    assert load_settings().traces_endpoint == url


@pytest.mark.parametrize(("name", "value"), [("PROT", "1"), ("PORT", "many"), ("TRACES_ENDPOINT", "tcp://x")])
def test_what_is_wrong_is_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValueError) as refusal:
        load_settings()
    line = explain(refusal.value)
    assert line.startswith(PREFIX + name) and "\n" not in line and "Value error" not in line


def test_the_engine_gets_its_slice() -> None:
    settings = Settings(model="/models/small", block_size=32, threads=3, prefix_cache=False)
    config = settings.engine_config()
    assert (config.model, config.block_size, config.threads, config.prefix_cache) == (
        "/models/small",
        32,
        3,
        False,
    )


def test_engine_and_service_agree_on_every_default() -> None:
    assert Settings(model="m", seed=7).engine_config() == EngineConfig(model="m", seed=7)


@pytest.mark.parametrize(
    ("model", "name", "served"),
    [
        ("/models/small/", "", "small"),
        ("maker/small-1b", "", "small-1b"),
        ("maker/small-1b", "mine", "mine"),
    ],
)
def test_the_served_name(model: str, name: str, served: str) -> None:
    assert Settings(model=model, model_name=name).served_name == served


def test_without_a_seed_no_two_starts_sample_alike() -> None:
    assert Settings().engine_config().seed != Settings().engine_config().seed
    assert Settings(seed=7).engine_config().seed == 7
