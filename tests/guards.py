"""Every guard of the service, how to take it away, and the tests that must fail then.

    python -m tests.guards [WORD ...]

Each guard (whose name has one of the words) is taken away in a copy of the working tree, one after another, and its
tests run there. Prints what was noticed; ends with code 1 where a guard can be missing and every test passes.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 90
_BUILT = "app/engine/native/build"


@dataclass(frozen=True)
class Guard:
    """One guard.

    Attributes:
        path: of the file that holds it.
        text: stands once in that file; with `without` in its place the guard is gone.
        tests: what pytest runs.
    """

    name: str
    path: str
    text: str
    without: str
    tests: str


_MIDDLEWARE, _SECURITY, _PROTOCOL = "app/api/middleware.py", "app/api/security.py", "app/http_protocol.py"
_FRAMING = "app/http_framing.py"
_T_SECURITY, _T_PROTOCOL, _T_EDGE = (
    "tests/api/test_security.py",
    "tests/test_http_protocol.py",
    "tests/api/test_middleware.py",
)
GUARDS = (
    # Who may ask
    Guard(
        "auth: keys", _SECURITY, "if entry is None:\n        raise", "if False:\n        raise", _T_SECURITY
    ),
    Guard(
        "auth: open paths",
        _SECURITY,
        'scope["path"] in self._open_paths',
        'scope["path"].startswith("/livez")',
        _T_SECURITY,
    ),
    Guard("auth: one header", _SECURITY, "if len(values) == 1 else", "if values else", _T_SECURITY),
    Guard(
        "auth: bearer alone",
        _SECURITY,
        'if scheme.lower() == b"bearer" else None',
        "if scheme else None",
        _T_SECURITY,
    ),
    Guard("auth: scopes", _SECURITY, "needed not in entry.scopes", "False", _T_SECURITY),
    Guard("auth: websockets", _SECURITY, 'if scope["type"] == "websocket":', "if False:", _T_SECURITY),
    Guard(
        "auth: expiry",
        "app/keys.py",
        "or found.has_expired(today) else found",
        "else found",
        f"{_T_SECURITY} tests/test_keys.py",
    ),
    Guard(
        "quota: requests",
        "app/api/quotas.py",
        "if wait := self._requests.wait(1.0):",
        "if wait := 0:",
        "tests/api/test_quotas.py",
    ),
    Guard("quota: tokens", "app/api/quotas.py", "if level <= 0:", "if False:", "tests/api/test_quotas.py"),
    Guard(
        "quota: concurrency",
        "app/api/quotas.py",
        "self._open >= self._concurrency",
        "False",
        "tests/api/test_quotas.py",
    ),
    Guard("quota: in front of the application", _SECURITY, "quota.admit()", "quota._open += 1", _T_SECURITY),
    Guard(
        "loopback rule",
        "app/settings.py",
        "or is_loopback(settings.host)",
        "or True",
        "tests/test_serve.py tests/test_settings.py",
    ),
    # What may come in
    Guard("body: declared length", "app/api/body_limit.py", "or int(length) > self._max_bytes", "", _T_EDGE),
    Guard(
        "body: bytes that came",
        "app/api/body_limit.py",
        "if len(body) > self._max_bytes:",
        "if False:",
        _T_EDGE,
    ),
    Guard(
        "body: time",
        "app/api/body_limit.py",
        "asyncio.timeout(self._seconds)",
        "asyncio.timeout(None)",
        _T_EDGE,
    ),
    Guard(
        "JSON: duplicate keys",
        "app/api/strict_json.py",
        "if len(dict(pairs)) != len(pairs):",
        "if False:",
        "tests/api/test_strict_json.py",
    ),
    Guard(
        "JSON: number of keys",
        "app/api/strict_json.py",
        "if len(pairs) > MAX_KEYS:",
        "if False:",
        "tests/api/test_strict_json.py",
    ),
    Guard(
        "JSON: depth",
        "app/api/strict_json.py",
        "default=0) > MAX_DEPTH:",
        "default=0) > 10**9:",
        "tests/api/test_strict_json.py",
    ),
    Guard(
        "JSON: containers",
        "app/api/strict_json.py",
        "if len(brackets) > 2 * MAX_CONTAINERS:",
        "if False:",
        "tests/api/test_strict_json.py",
    ),
    Guard(
        "JSON: strict parser",
        "app/api/strict_json.py",
        "value = msgspec.json.decode(body)",
        "value = json.loads(body)",
        "tests/api/test_strict_json.py",
    ),
    Guard(
        "JSON: content type",
        "app/api/strict_json.py",
        '== "application/json"',
        '!= "x"',
        "tests/api/test_bad_input.py",
    ),
    Guard(
        "JSON: long bodies off the loop",
        "app/api/strict_json.py",
        "inline = len(body) <= INLINE_BYTES",
        "inline = True",
        "tests/api/test_strict_json.py",
    ),
    Guard("HTTP: one Host", _FRAMING, "(len(hosts) == 1 or (old and not hosts))", "True", _T_PROTOCOL),
    Guard(
        "HTTP: one length, no encoding beside it",
        _PROTOCOL,
        "super().__init__(*arguments, **options)",
        """super().__init__(*arguments, **options)
        lenient = dict(lenient_chunked_length=True, lenient_transfer_encoding=True, lenient_headers=True)
        self.parser.set_dangerous_leniencies(**lenient)""",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: chunked alone",
        _FRAMING,
        '(not encodings or (not old and [one.lower() for one in encodings] == [b"chunked"]))',
        "True",
        _T_PROTOCOL,
    ),
    Guard("HTTP: URL", _PROTOCOL, "if len(self.url) > self._limits.max_url_bytes:", "if False:", _T_PROTOCOL),
    Guard(
        "HTTP: number of fields",
        _PROTOCOL,
        "if len(self.headers) > self._limits.max_header_fields:",
        "if False:",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: bytes of fields",
        _PROTOCOL,
        "if head_bytes(self.headers) > self._limits.max_header_bytes:",
        "if False:",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: bytes of an unfinished head",
        _PROTOCOL,
        "if self._in_head and self._received >",
        "if False and self._received >",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: bytes around a body",
        _PROTOCOL,
        "elif self._in_body and is_endless(",
        "elif False and is_endless(",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: slow head",
        _PROTOCOL,
        "header_seconds, self._on_slow_head)",
        "header_seconds + 1e6, self._on_slow_head)",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: silence",
        _PROTOCOL,
        "header_seconds, self._on_silence)",
        "header_seconds + 1e6, self._on_silence)",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: no error within an answer",
        _PROTOCOL,
        "if self.cycle is not None and not self.cycle.response_complete:",
        "if False:",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: bodies behind an offer of another protocol",
        _PROTOCOL,
        "data = data[offer.args[0] :]",
        "return",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: who has left is missed",
        _PROTOCOL,
        "self._timer = self.loop.call_later(_ASK_SECONDS, self._ask, _ASK_SECONDS)",
        "pass",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: who has left is asked often",
        _PROTOCOL,
        "min(2 * seconds, _MOST_ASK_SECONDS)",
        "2 * seconds",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: the request that runs is told",
        _PROTOCOL,
        "self._running.disconnected = True",
        "pass",
        _T_PROTOCOL,
    ),
    Guard("HTTP: read on while requests wait", _PROTOCOL, "self.flow.resume_reading()", "pass", _T_PROTOCOL),
    Guard(
        "HTTP: bytes of requests that wait",
        _PROTOCOL,
        "if self._ahead > _AHEAD_BYTES and",
        "if False and",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: idle until a request begins",
        _PROTOCOL,
        "        try:\n            self._parse(memoryview(data))",
        "        self._unset_keepalive_if_required()\n        try:\n            self._parse(memoryview(data))",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: who reads nothing",
        "app/stall_watch.py",
        "self._timer = self._loop.call_later(self._seconds, self._look, waiting)",
        "pass",
        _T_PROTOCOL,
    ),
    Guard(
        "HTTP: what is on its way at the end",
        _PROTOCOL,
        "self.loop.call_later(_LAST_REQUEST_SECONDS, self._end_unless_asked)",
        "self.transport.close()",
        _T_PROTOCOL,
    ),
    Guard(
        "Drain: who waits to be accepted",
        "app/server.py",
        "if not waiting.poll(0):",
        "if True:",
        "tests/test_server.py",
    ),
    Guard(
        "Drain: no connection is kept",
        "app/server.py",
        "        self._keep_no_connections()\n",
        "",
        "tests/test_server.py",
    ),
    Guard(
        "Flood: the engine goes first",
        "app/engine/client.py",
        "serves and self._admission.flooded",
        "False",
        "tests/engine/test_client.py",
    ),
    Guard(
        "Admission: who floods has what others leave",
        "app/engine/admission.py",
        "(worth - sum(calm)) / (",
        "worth / (",
        "tests/engine/test_admission.py",
    ),
    Guard(
        "Tokenizer: as much as may wait",
        "app/services/aside.py",
        "if not self._places.acquire(blocking=False):",
        "if False:",
        "tests/services/test_aside.py",
    ),
    Guard(
        "CORS: no origin by default",
        "app/main.py",
        "allow_origins=settings.cors_origins",
        'allow_origins=["*"]',
        "tests/test_main.py",
    ),
    Guard(
        "CORS: pages that take the service for their own",
        "app/main.py",
        "*([own_pages] if settings.api_keys_file is None and not settings.allow_open else []),",
        "",
        "tests/test_main.py",
    ),
    Guard(
        "CORS: pages that hide where they come from",
        "app/api/cors.py",
        'not in ("", "file")',
        'not in ("file",)',
        "tests/test_main.py",
    ),
    Guard(
        "CORS: methods",
        "app/main.py",
        'allow_methods=["GET", "POST"]',
        'allow_methods=["*"]',
        "tests/test_main.py",
    ),
    Guard(
        "no redirects",
        "app/main.py",
        "redirect_slashes=False",
        "redirect_slashes=True",
        "tests/test_main.py tests/api",
    ),
    # What one client may learn of another
    Guard(
        "prefix cache: salted blocks",
        "app/engine/core/block_manager.py",
        "else sequence.request.cache_salt.encode()",
        "else b''",
        "tests/engine/core/test_block_manager.py",
    ),
    Guard(
        "prefix cache: tenant of chats",
        "app/api/schemas/generation.py",
        "cache_salt=tenant if self.cache_salt is None",
        'cache_salt="" if self.cache_salt is None',
        "tests/api",
    ),
    Guard(
        "prefix cache: tenant of decisions",
        "app/api/routes/decisions.py",
        "salt = self._tenant if",
        'salt = "" if',
        "tests/api",
    ),
    Guard(
        "kept ids: tenant of chats",
        "app/services/chat.py",
        'observation.tenant or ""',
        '""',
        "tests/api/test_tenants.py",
    ),
    Guard(
        "kept ids: tenant of decisions",
        "app/services/decisions.py",
        "self._encode(queries, tenant)",
        'self._encode(queries, "")',
        "tests/api/test_tenants.py",
    ),
    Guard(
        "ids of the server's own",
        _MIDDLEWARE,
        "Observation(new_request_id(), task",
        'Observation(dict(scope["headers"]).get(b"x-request-id", b"req_").decode("latin-1"), task',
        _T_EDGE,
    ),
    Guard(
        "client ids: form",
        _MIDDLEWARE,
        "client_id.decode() if CLIENT_ID.fullmatch(client_id) else None",
        'client_id.decode("latin-1") or None',
        _T_EDGE,
    ),
    # What is written down
    Guard(
        "log: message masked",
        "app/logs.py",
        '"message": mask(record.getMessage())',
        '"message": record.getMessage()',
        "tests/test_logs.py",
    ),
    Guard(
        "log: exception masked",
        "app/logs.py",
        "mask(record.exc_text)",
        "record.exc_text",
        "tests/test_logs.py",
    ),
    Guard(
        "log: client's id masked",
        "app/logs.py",
        'fields["client_request_id"] = mask(identifier)',
        'fields["client_request_id"] = identifier',
        "tests/test_logs.py",
    ),
    Guard(
        "log: control characters",
        "app/logs.py",
        'return escape(f"{head} {tail}".rstrip())',
        'return f"{head} {tail}".rstrip()',
        "tests/test_logs.py",
    ),
    Guard(
        "log: no message of an unknown error",
        _MIDDLEWARE,
        '"frames": frames}',
        '"frames": frames + str(error)}',
        _T_EDGE,
    ),
    Guard(
        "log: method",
        _MIDDLEWARE,
        'method if method.isalpha() and len(method) <= 16 else "other"',
        "method",
        _T_EDGE,
    ),
    Guard(
        "metrics: route templates",
        _MIDDLEWARE,
        'return path if scope["method"] in methods else "unmatched"',
        "return path",
        f"{_T_EDGE} tests/metric_families/test_series.py",
    ),
    Guard(
        "metrics: methods",
        "app/metric_families/service.py",
        'method if method in METHODS else "other"',
        "method",
        "tests/metric_families tests/test_metrics.py",
    ),
    Guard(
        "metrics: tenants",
        "app/main.py",
        "    metrics.know_tenants(ring.tenants)\n    return",
        "    return",
        "tests/test_main.py tests/metric_families/test_tenants.py",
    ),
    Guard(
        "traces: query",
        "app/tracing.py",
        'if span.attributes and "url.query" in span.attributes:',
        "if False:",
        "tests/test_tracing.py tests/api/test_trace.py",
    ),
    Guard(
        "errors: fields",
        "app/api/error_handlers.py",
        "part in _TYPE_NAMES or not _FIELD.fullmatch(part)",
        "part in _TYPE_NAMES",
        "tests/api/test_bad_input.py",
    ),
    Guard(
        "errors: free keys",
        "app/api/error_handlers.py",
        "if before in _FREE_KEYS:",
        "if False:",
        "tests/api/test_bad_input.py",
    ),
    # What a model may be
    Guard(
        "model: safetensors alone",
        "app/engine/core/model_loader.py",
        "use_safetensors=True",
        "use_safetensors=False",
        "tests/engine/core/test_model_loader.py tests/test_unsafe_code.py",
    ),
    Guard(
        "model: pickles refused",
        "app/engine/core/model_loader.py",
        "_refuse_pickles(Path(config.model))",
        "pass",
        "tests/engine/core/test_model_loader.py",
    ),
    Guard(
        "model: no code when configured",
        "app/engine/core/model_loader.py",
        "AutoConfig.from_pretrained(config.model, trust_remote_code=False)",
        "AutoConfig.from_pretrained(config.model, trust_remote_code=True)",
        "tests/engine/core/test_model_loader.py -k code",
    ),
    Guard(
        "model: files of the hub",
        "app/model_source.py",
        '_FILES = ["*.safetensors"',
        '_FILES = ["*.bin", "*.py", "*.safetensors"',
        "tests/test_model_source.py",
    ),
    Guard(
        "model: hub ids",
        "app/model_source.py",
        "stranger = path.exists() or not _HUB_ID.match(model)",
        "stranger = False",
        "tests/test_model_source.py",
    ),
    Guard("model: names of requests", "app/api/deps.py", "raise ModelNotFound", "return", "tests/api"),
    Guard(
        "model: sandboxed template",
        "app/services/chat_template.py",
        "    environment = ImmutableSandboxedEnvironment(",
        "    environment = jinja2.Environment(",
        "tests/services",
    ),
    # What one request may do to others
    Guard(
        "texts: control tokens",
        "app/services/tokenizer.py",
        "self._forbidden_ids = self.special_ids - {unknown}",
        "self._forbidden_ids, self._plain = frozenset(), _from_json(files.content)",
        "tests/services/test_tokenizer.py",
    ),
    Guard(
        "messages: control tokens",
        "app/services/tokenizer.py",
        "Message(m.role, _replaced(m.content, masks))",
        "Message(m.role, m.content)",
        "tests/services/test_tokenizer.py",
    ),
    Guard(
        "batch: found by halving",
        "app/engine/core/engine_core.py",
        "        if half:\n",
        "        if half:\n            return [StepResult(failed=True) for _ in scheduled]\n",
        "tests/engine/core/test_isolation.py",
    ),
    Guard(
        "quarantine",
        "app/engine/recovery.py",
        "return len(self._blamed.get(_digest(prompt), ())) >= _BLAMES",
        "return False",
        "tests/engine/test_recovery.py",
    ),
)


def source(guard: Guard, root: Path = ROOT) -> str:
    """The file that holds a guard."""
    return (root / guard.path).read_text(encoding="utf-8")


def is_noticed(guard: Guard, copy: Path) -> bool:
    """Whether a test fails in the copy without the guard; the copy is whole again after it."""
    whole = source(guard, copy)
    (copy / guard.path).write_text(whole.replace(guard.text, guard.without), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *guard.tests.split()]
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=_SECONDS).returncode == 1
    except subprocess.TimeoutExpired:
        return True  # a guard against what never ends
    finally:
        (copy / guard.path).write_text(whole, encoding="utf-8")


def main(words: list[str]) -> int:
    """Take away one guard after another; returns the exit code."""
    chosen = [guard for guard in GUARDS if not words or any(word in guard.name for word in words)]
    if not chosen:
        print(f"No guard's name has {' or '.join(words)}.", file=sys.stderr)
        return 2
    missed = []
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = Path(folder) / "tree"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        if (ROOT / _BUILT).exists():  # not compiled anew
            shutil.copytree(ROOT / _BUILT, copy / _BUILT)
        for guard in chosen:
            noticed = is_noticed(guard, copy)
            print(f"{'noticed' if noticed else 'NOT NOTICED'}: {guard.name}", flush=True)
            missed += [] if noticed else [guard.name]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} guards cannot be missing without a test that fails")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
