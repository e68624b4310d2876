"""`python -m app doctor`: whether the service could start here, asked of the code that starts it.

What needs PyTorch is found out by a process of the engine's (`app.engine.doctor`), for this one must never load it.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from packaging.requirements import Requirement
from pydantic import ValidationError

from app import exit_codes
from app.engine.config import EngineConfig
from app.engine.finding import Finding
from app.keys import InvalidKeysFile, KeyRing
from app.main import answers_of
from app.metrics import InvalidMetricSettings, Metrics
from app.model_source import ModelNotAvailable, ModelNotFetched, model_directory
from app.policy.rules import InvalidPolicyFile, load_rules
from app.serve import InvalidTraces, reason, tracing_of
from app.server import CannotListen, open_listeners
from app.services.decision_prompts import load_prompts
from app.services.known_answers import InvalidAnswersFile
from app.services.model_file import InvalidModelFile
from app.services.sampling_defaults import load_sampling_defaults
from app.services.tokenizer import Tokenizer
from app.settings import (
    Settings,
    UnknownSetting,
    UnsafeSetting,
    explain,
    is_loopback,
    load_settings,
    refuse_unsafe,
)

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "runtime.txt"
COLLECTOR_SECONDS = 2.0


def main(options: Sequence[str]) -> int:
    """Print what is found; 1 where something keeps the service from working."""
    argparse.ArgumentParser(
        prog="python -m app doctor",
        description="Look at machine, model, port and files as a start would, and say how to cure what is wrong.",
    ).parse_args(options)
    failed = False
    for finding in findings():
        print(f"{finding.state:<9}{finding.what:<16}{finding.detail}", flush=True)
        failed = failed or finding.state == "failed"
    return exit_codes.FAILED if failed else exit_codes.OK


def findings() -> Iterator[Finding]:
    """Everything, in the order in which a start would meet it."""
    yield _libraries(LOCK)
    try:
        settings = load_settings()
    except (ValidationError, UnknownSetting) as error:
        yield Finding("settings", "failed", explain(error).replace("\n", "; "))
        return
    given = len(settings.model_fields_set)
    yield Finding("settings", "ok", f"{given} of {len(Settings.model_fields)} from the environment")
    yield _address(settings)
    yield _keys(settings)
    yield _objectives(settings)
    if settings.traces_endpoint:
        yield _traces(settings)
    found, directory = _model(settings)
    yield from found
    config = settings.engine_config()
    yield from _engine(msgspec.structs.replace(config, model=str(directory) if directory else ""))


def _libraries(lock: Path) -> Finding:
    """Whether what is installed is what the lock says."""
    try:
        lines = lock.read_text("utf-8").splitlines()
    except OSError:
        return Finding("libraries", "warning", f"not compared: {lock} is not here")
    wanted = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    strangers = [stranger for one in wanted if (stranger := _stranger(one))]
    if strangers:
        cure = "Remove .venv/.runtime and run `make serve`, or install requirements/runtime.txt anew."
        return Finding("libraries", "warning", f"not as locked: {', '.join(strangers)}. {cure}")
    return Finding("libraries", "ok", f"{len(wanted)} as locked, Python {sys.version.split()[0]}")


def _stranger(wanted: Requirement) -> str | None:
    """How the installed package differs; None where it does not."""
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is missing"
    return None if installed in wanted.specifier else f"{wanted.name} is {installed}, not {wanted.specifier}"


def _address(settings: Settings) -> Finding:
    try:
        refuse_unsafe(settings)
        listeners = open_listeners(settings)
    except (UnsafeSetting, CannotListen) as error:
        return Finding("address", "failed", str(error))
    for listener in listeners:
        listener.close()
    return Finding("address", "ok", f"port {settings.port or 'any'} is free on {settings.host}")


def _keys(settings: Settings) -> Finding:
    if settings.api_keys_file is None:
        who = "this machine alone" if is_loopback(settings.host) else "anyone who reaches it"
        return Finding("keys", "ok", f"none: {who} may use the service")
    try:
        ring = KeyRing.load(settings.api_keys_file)
    except InvalidKeysFile as error:
        cure = "`python -m app keys new` prints an entry; the file is a JSON list of them."
        return Finding("keys", "failed", f"{settings.api_keys_file}: {error}. {cure}")
    valid = [entry for entry in ring.entries if not entry.has_expired()]
    expired = [entry.id for entry in ring.entries if entry not in valid]
    detail = f"{len(valid)} in {settings.api_keys_file}"
    if expired:
        detail = f"{detail}, and expired: {', '.join(expired)}"
    if not valid:
        return Finding("keys", "failed", f"{detail}. Nobody can use the service: add keys, or later days.")
    if not any("metrics" in entry.scopes for entry in valid):
        cure = "`python -m app keys new --tenant ops --scope metrics` makes one."
        return Finding("keys", "warning", f"{detail}; none is for Prometheus. {cure}")
    return Finding("keys", "warning" if expired else "ok", detail)


def _objectives(settings: Settings) -> Finding:
    try:
        Metrics.of(settings)
    except InvalidMetricSettings as error:
        return Finding("objectives", "failed", str(error))
    return Finding("objectives", "ok", str(settings.slo_file or "those of the service"))


def _traces(settings: Settings) -> Finding:
    try:
        with contextlib.ExitStack() as stack:
            tracing_of(settings, stack)
    except InvalidTraces as error:
        return Finding("traces", "failed", reason(settings, error))
    return _collector(settings.traces_endpoint)


def _collector(endpoint: str) -> Finding:
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname or "", port), COLLECTOR_SECONDS).close()
    except (OSError, UnicodeError) as error:  # the latter of a name such as `a..b`
        cause = getattr(error, "strerror", None) or error
        detail = f"{endpoint} cannot be reached ({cause}): spans would be dropped"
        return Finding(
            "traces", "warning", f"{detail}. Start the collector, or correct REPARTEE_TRACES_ENDPOINT."
        )
    return Finding("traces", "ok", endpoint)


def _model(settings: Settings) -> tuple[list[Finding], Path | None]:
    """What the API process reads of the model, and where it lies if it can be used."""
    without = list[Finding]()  # what cannot be looked at where there is no model
    if settings.policy_file:
        detail = f"{settings.policy_file} is not looked at: that needs the model"
        without = [Finding("policy", "warning", detail)]
    try:
        directory = model_directory(settings.model, fetch=False)
    except ModelNotFetched as error:
        return [Finding("model files", "warning", str(error)), *without], None
    except ModelNotAvailable as error:
        return [Finding("model files", "failed", str(error)), *without], None
    try:
        tokenizer = Tokenizer.from_directory(directory)
        load_prompts(str(directory))
        load_sampling_defaults(str(directory))
    except InvalidModelFile as error:
        cure = "Copy the model anew, or set REPARTEE_MODEL."
        return [Finding("model files", "failed", f"{error}. {cure}"), *without], None
    chat = "with" if tokenizer.has_chat_template else "without"
    found = [Finding("model files", "ok", f"{directory}, {chat} a chat template")]
    try:
        answers_of(settings.model_copy(update={"model": str(directory)}), tokenizer)
    except InvalidAnswersFile as error:
        found.append(Finding("known answers", "failed", f"REPARTEE_ANSWERS_FILE: {error}"))
    if settings.policy_file is not None:
        found.append(_policy(settings, tokenizer))
    return found, directory


def _policy(settings: Settings, tokenizer: Tokenizer) -> Finding:
    try:
        rules = load_rules(settings, tokenizer)
    except InvalidPolicyFile as error:
        return Finding("policy", "failed", reason(settings, error))
    return Finding("policy", "ok", f"{len(rules)} rules in {settings.policy_file}")


def _engine(config: EngineConfig) -> Iterator[Finding]:
    """The engine's findings, each as soon as it is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.engine.doctor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        process_group=0,  # Ctrl-C is for us alone, or it would show where it was
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # where the check is broken off
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # one that ends before it reads is told by its exit code
            process.stdin.write(msgspec.json.encode(config))
            process.stdin.close()
        for line in process.stdout:
            yield msgspec.json.decode(line, type=Finding)
        process.wait()
    if process.returncode:
        yield Finding("engine", "failed", f"its check ended with code {process.returncode}; see above")
