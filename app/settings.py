"""Every setting of the service, read once from `REPARTEE_*` environment variables and then frozen."""

import difflib
import ipaddress
import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.engine.config import EngineConfig

PREFIX = "REPARTEE_"
EMBEDDED_MODEL = str(Path(__file__).resolve().parent.parent / "models" / "repartee-support")

Count = Annotated[int, Field(lt=1 << 31)]
"""Of something: what goes to the engine process and into its native code must fit their integers."""
Seconds = Annotated[float, Field(le=365 * 86400.0)]
"""A time to wait; an event loop's own clock ends somewhere, and long before infinity."""


class UnknownSetting(ValueError):
    """An environment variable with our prefix that names no setting."""


class UnsafeSetting(ValueError):
    """A combination of settings that would leave the service open to strangers."""


class Settings(BaseSettings):
    """The service's settings; field `port` is variable `REPARTEE_PORT`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=())

    # Server
    host: str = Field(
        "127.0.0.1", description="Address to listen on. Without API keys only loopback is allowed."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="`auto`: text on a terminal, JSON lines elsewhere."
    )
    status_log_seconds: Seconds = Field(
        10.0, ge=0, description="How often one line tells of the load while there is any; 0: never."
    )
    traces_endpoint: str = Field(
        "", description="OTLP/HTTP URL of a collector that gets traces; empty sends none (docs/tracing.md)."
    )
    traces_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the requests that are traced where the caller has not decided it.",
    )
    drain_delay_seconds: Seconds = Field(
        2.0,
        ge=0,
        description="After SIGTERM, how long new work is still taken while `/readyz` is 503 already, so that load "
        "balancers look elsewhere before anything is refused.",
    )
    drain_seconds: Seconds = Field(30.0, ge=0, description="How long open streams may go on after that.")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated origins whose browsers may call the API; empty allows none."
    )

    # What is measured
    slo_file: Path | None = Field(
        None, description="Table of objectives that requests are judged by, as `app/slos.toml`, the default."
    )
    metrics_buckets: Annotated[dict[str, tuple[float, ...]], NoDecode] = Field(
        default={},
        description='Bucket bounds of histograms, as JSON such as `{"repartee_inter_token_seconds": [0.01, 0.1, 1]}`; '
        "docs/metrics.md has those that there are.",
    )
    metrics_vllm_aliases: bool = Field(
        False, description="Export the best-known metrics under vLLM's names too."
    )
    revision: str = Field(
        "",
        description="Revision of the source, as `/version` and `repartee_build_info` tell it; the image sets its own.",
    )

    # Security
    api_keys_file: Path | None = Field(
        None, description="JSON list of key digests; see `python -m app keys new`."
    )
    allow_open: bool = Field(
        False, description="Listen on other addresses than loopback without any API key."
    )
    metrics_without_key: bool = Field(
        False,
        description="Answer `/metrics` without a key, for scrapers that send none; the network must keep others off.",
    )

    policy_file: Path | None = Field(
        None,
        description="TOML table of rules that refuse, mask or flag what is asked and said (docs/policy.md).",
    )

    # Limits
    max_body_bytes: Count = Field(1 << 20, ge=1024, description="Largest request body, in bytes.")
    max_url_bytes: Count = Field(8 << 10, ge=256, description="Longest request target, in bytes.")
    max_header_bytes: Count = Field(16 << 10, ge=1024, description="All header fields together, in bytes.")
    max_header_fields: Count = Field(64, ge=8, description="Most header fields.")
    header_seconds: Seconds = Field(
        10.0,
        gt=0,
        description="How long the head of a request may take to arrive, and the first byte on a new connection.",
    )
    body_seconds: Seconds = Field(15.0, gt=0, description="How long a request body may take to arrive.")
    idle_seconds: Seconds = Field(
        30.0, gt=0, description="How long a connection may be idle between two requests."
    )
    max_messages: Count = Field(256, ge=1, description="Most messages in one chat request.")
    max_choices: Count = Field(4, ge=1, description="Largest `n`.")
    max_labels: Count = Field(255, ge=2, description="Most labels of one question.")
    max_inputs: Count = Field(32, ge=1, description="Most texts in one classification request.")
    max_questions: Count = Field(64, ge=1, description="Most questions in one decisions request.")
    max_waiting: Count = Field(
        256,
        ge=1,
        description="Most sequences in the queue; what would be answered too late gets 503 well before.",
    )
    request_timeout_seconds: Seconds = Field(
        120.0, gt=0, description="Deadline of requests without `x-request-timeout-ms`."
    )
    keep_alive_seconds: Seconds = Field(
        15.0, gt=0, description="Silence on a stream after which a comment line is sent."
    )
    write_stall_seconds: Seconds = Field(
        15.0, gt=0, description="A client that reads nothing for so long is cut off."
    )
    default_max_tokens: Count = Field(512, ge=1, description="`max_tokens` of chat requests that bring none.")

    # Engine
    model: str = Field(
        EMBEDDED_MODEL,
        min_length=1,
        description="Local directory or hub id of a causal LM; default: the embedded model.",
    )
    model_name: str = Field(
        "", description="Name under which the model is served; default: the last part of `model`."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA where there is one.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Computing type of the model."
    )
    quantization: Literal["auto", "none", "int8", "int4", "bnb-nf4", "bnb-int8"] = Field(
        "auto",
        description="Weight format; `auto`: `int8` on a CPU for the families that the native decoder runs.",
    )
    max_model_len: Count = Field(0, ge=0, description="Longest sequence in tokens; 0: the model's own limit.")
    kv_cache_tokens: Count = Field(0, ge=0, description="KV cache capacity in tokens; 0: sized from memory.")
    kv_cache_memory_ratio: float = Field(
        0.2, gt=0, le=0.95, description="Share of free memory for the KV cache."
    )
    block_size: int = Field(
        16,
        ge=1,
        le=256,
        description="Tokens in a block of the KV cache; the native decoder wants a divisor or a multiple of 16.",
    )
    max_batch_tokens: Count = Field(512, ge=16, description="Token budget of one engine step.")
    prefill_chunk: Count = Field(
        128, ge=16, description="Prompt tokens of one step while other sequences decode."
    )
    max_running: Count = Field(64, ge=1, description="Most sequences that run at once.")
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of the forward pass; 0: one per core, fewer where a model is too small for them.",
    )
    prefix_cache: bool = Field(True, description="Share the KV blocks of equal prefixes.")
    speculation: bool = Field(
        True,
        description="Draft what an answer repeats, of itself or of known answers, where that changes no answer: with "
        "the native decoder.",
    )
    answers_file: Path | None = Field(
        None,
        description="Known answers, such as past replies: a `.jsonl` with a string, or an object with `text`, a line; "
        "else text in which blank lines part them. Default: `answers.jsonl` of the model, if it has one.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=1 << 63,
        description="Base seed of requests that bring none; without it each start draws another.",
    )
    warmup: bool = Field(True, description="Run warm-up requests before the service is ready.")

    @field_validator("metrics_buckets", mode="before")
    @classmethod
    def _parse_buckets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value or "{}")
        except ValueError as error:
            raise ValueError("this is no JSON object of lists of numbers") from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [origin.strip() for origin in value.split(",") if origin.strip()]

    @field_validator("traces_endpoint")
    @classmethod
    def _is_collector(cls, value: str) -> str:
        """The URL with the path that collectors listen on where it names none."""
        if not value:
            return value
        try:
            url = urlsplit(value)
            usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("this is no URL of a collector such as http://127.0.0.1:4318/v1/traces")
        if "@" in url.netloc or url.query:
            raise ValueError("a password does not belong here; OTEL_EXPORTER_OTLP_HEADERS takes credentials")
        return url._replace(path="/v1/traces").geturl() if url.path in ("", "/") else value

    @property
    def served_name(self) -> str:
        """The model's public name."""
        return self.model_name or Path(self.model.rstrip("/")).name

    def engine_config(self) -> EngineConfig:
        """The slice that the engine process needs; equal replicas must not answer alike by chance, hence the seed."""
        values = {name: getattr(self, name) for name in EngineConfig.__struct_fields__}
        seed = secrets.randbits(62) if self.seed is None else self.seed
        return EngineConfig(**(values | {"seed": seed}))


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        UnknownSetting: a variable with our prefix that no field knows.
        pydantic.ValidationError: a value that does not fit its field.
    """
    known = [name.upper() for name in Settings.model_fields]
    for variable in os.environ:
        prefix, name = variable[: len(PREFIX)].upper(), variable[len(PREFIX) :].upper()
        if prefix == PREFIX and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise UnknownSetting(f"{variable} is not a setting{hint}")
    return Settings()


def explain(error: ValidationError | ValueError) -> str:
    """What is wrong with the environment, one line for each variable."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "\n".join(
        f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )


def refuse_unsafe(settings: Settings) -> None:
    """Refuse to serve strangers without keys.

    Raises:
        UnsafeSetting: with the settings that say what is meant.
    """
    if settings.api_keys_file or settings.allow_open or is_loopback(settings.host):
        return
    raise UnsafeSetting(
        f"{PREFIX}HOST is {settings.host}, which others can reach, and there are no API keys. Set "
        f"{PREFIX}API_KEYS_FILE (see `python -m app keys new`), or {PREFIX}ALLOW_OPEN=true if that is meant."
    )


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, is this machine's own to everybody."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
