"""Every way to ask for a path that a front end, a router or a guard has been known to read differently."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from urllib.parse import unquote

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("PROPFIND", "PURGE", "QUERY", "get", "Post", "BREW", "GETGET"),
)
"""Those that HTTP knows, those of its extensions, and some that nobody knows."""
PREFLIGHT = (("origin", "https://page.example"), ("access-control-request-method", "POST"))
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A path that exists, its variable parts filled in, and the methods that it takes."""

    path: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request.

    Attributes:
        kind: what is tried, for the table.
        target: as it stands in the request line; each character is one byte.
    """

    kind: str
    method: str
    target: str
    headers: Headers = ()
    version: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        """What the target asks for once it is split and decoded once, as RFC 3986 has it."""
        target = self.target
        if "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        return unquote(target.partition("?")[0].partition("#")[0])

    def encoded(self) -> bytes:
        """The bytes on the wire, with a body that is JSON."""
        fields = [*self.headers, ("content-type", "application/json"), ("content-length", "2")]
        if not any(name == "host" for name, _ in fields):
            fields.insert(0, ("host", "service"))
        lines = [f"{self.method} {self.target} {self.version}".rstrip(), *(f"{n}: {v}" for n, v in fields)]
        return ("\r\n".join(lines) + "\r\n\r\n{}").encode("latin-1")


def attempts(routes: Sequence[Route], healthy: Sequence[str], key: str) -> Iterator[Attempt]:
    """All of them.

    Args:
        routes: the routes that need a key.
        healthy: the paths that need none.
        key: a key that is valid, for the places where it must not count.
    """
    for route in routes:
        for (kind, target), method in product(targets(route.path, healthy), METHODS):
            yield Attempt(kind, method, target)
        for (kind, headers), method in product(header_sets(route.path, healthy, key), route.methods):
            yield Attempt(kind, method, route.path, headers)
        for name, method in product(("key", "api_key", "access_token", "token"), route.methods):
            yield Attempt("key in the query", method, f"{route.path}?{name}={key}")
        for version, method in product(("HTTP/1.0", "HTTP/2.0", "HTTP/0.9", ""), route.methods):
            yield Attempt("version", method, route.path, version=version)
        for method in METHODS:
            yield Attempt("preflight", method, route.path, PREFLIGHT)
    for path in healthy:
        for (_, target), method in product(targets(path, ()), METHODS):
            yield Attempt("nearly a health path", method, target)
    for path, method in product(("*", "/", "", "service:80"), METHODS):
        yield Attempt("no path", method, path)


def targets(path: str, healthy: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Request targets that something in the way may take for the path, by kind."""
    yield "as it is", path
    for target in (path.upper(), path.title(), path.swapcase(), path[:2].upper() + path[2:]):
        yield "case", target
    inner = path.replace("/", "//")
    for target in (
        f"/{path}",
        f"//{path}",
        f"{path}/",
        f"{path}//",
        inner,
        path.replace("/", "\\"),
        path[1:],
    ):
        yield "slashes", target
    yield from (("dot segments", target) for target in _dotted(path))
    yield from (("percent-encoded", target) for target in _percent_encoded(path))
    for end in (
        ";",
        ";x=y",
        ";/livez",
        ".",
        ".json",
        "%20",
        "%09",
        "+",
        ",",
        "&",
        "#",
        "#/livez",
        "\xa0",
        "\t",
    ):
        yield "something behind it", path + end
    for part in ("%00", "\x00", "%0d%0a", "%0a", "\x7f"):
        yield from (("control characters", target) for target in (path + part, part + path, f"/{part}{path}"))
    for query in ("?", "?/livez", "?x=/livez", "??", "?_method=GET", "?path=/livez&x", "?%00"):
        yield "query", path + query
    for before in (
        "http://x",
        "HTTP://X",
        "https://x:443",
        "http://livez",
        "http://u:p@x",
        "http:",
        "http:/",
    ):
        yield "absolute form", before + path
    for before in ("x:80", "x", "//x", "file://", "http://[::1]", "ws://x", "http://x/livez"):
        yield "authority and other forms", before + path
    for health in healthy:
        yield from (("with a health path", target) for target in _beside(path, health))


def _dotted(path: str) -> Iterator[str]:
    last = path.rpartition("/")[2]
    for dot in (".", "%2e", "%2E", ".%00"):
        yield from (f"/{dot}{path}", f"{path}/{dot}", f"/{dot}{dot}{path}", f"/x/{dot}{dot}{path}")
        yield from (f"{path}/{dot}{dot}", f"{path}/{dot}{dot}/{last}", f"/{dot}{dot};{path}")


def _percent_encoded(path: str) -> Iterator[str]:
    def whole(form: str) -> str:
        return "/" + "".join(form.format(ord(char)) for char in path[1:])

    for index, char in enumerate(path):
        for form in ("%{:02x}", "%25{:02x}"):
            yield path[:index] + form.format(ord(char)) + path[index + 1 :]
    yield from (
        whole(form) for form in ("%{:02x}", "%{:02X}", "%25{:02x}", "%2525{:02x}", "%u00{:02x}", "&#{};")
    )
    yield "".join(f"%{ord(char):02x}" if index % 2 else char for index, char in enumerate(path))
    slash = path[1:].replace("/", "{0}") if "/" in path[1:] else path[1:] + "{0}"
    for form in (
        "%2f",
        "%2F",
        "%252f",
        "%5c",
        "%c0%af",
        "%e0%80%af",
        "%ef%bc%8f",
        "%u2215",
        "%",
        "%2",
        "%zz",
    ):
        yield "/" + slash.format(form)
    fullwidth = "".join(f"%ef%bc%{ord(char) + 0x60:02x}" if "!" <= char < "_" else char for char in path[1:])
    yield "/" + fullwidth  # NFKC folds these to ASCII


def _beside(path: str, health: str) -> Iterator[str]:
    joints = (
        "",
        "/..",
        "/%2e%2e",
        "%2f..",
        "%2f%2e%2e",
        "\\..",
        "%5c..",
        "/../..",
        "/x/../..",
        "//",
        "/./..",
        "/..;",
    )
    for joint in (*joints, ";", "?", "#", "%3f", "%23", "%00", "%0a", ",", "|", "@", "%20", "&", ":"):
        yield from (f"{health}{joint}{path}", f"{path}{joint}{health}")


def header_sets(path: str, healthy: Iterable[str], key: str) -> Iterator[tuple[str, Headers]]:
    """Fields that some guard or router believes, by kind; the key is valid, and in the wrong place."""
    for name in (
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-path",
        "x-forwarded-uri",
        "x-envoy-original-path",
    ):
        yield from (("path in a header", ((name, other),)) for other in (*healthy, path, "/"))
    for name in (
        "x-forwarded-for",
        "x-real-ip",
        "x-client-ip",
        "forwarded",
        "true-client-ip",
        "x-forwarded-host",
    ):
        for value in ("127.0.0.1", "::1", "localhost", "for=127.0.0.1;proto=https"):
            yield "address in a header", ((name, value),)
    for name in (
        "x-forwarded-prefix",
        "x-script-name",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-port",
    ):
        for value in (path, "/livez", "https"):
            yield "prefix in a header", ((name, value),)
    for name in ("x-http-method-override", "x-http-method", "x-method-override"):
        yield from (("method in a header", ((name, method),)) for method in ("OPTIONS", "HEAD", "GET"))
    for host in (
        "livez",
        "localhost",
        "127.0.0.1",
        "service/livez",
        "service/livez?",
        "livez#",
        "a@livez",
        "[::1]",
    ):
        yield "host", (("host", host),)
    for name in ("x-api-key", "api-key", "x-auth-token", "proxy-authorization", "x-authorization", "cookie"):
        yield from (
            ("key in another header", ((name, value),)) for value in (key, f"Bearer {key}", f"key={key}")
        )
    for value in _not_bearer(key):
        yield "malformed authorization", (("authorization", value),)
    good, bad = ("authorization", f"Bearer {key}"), ("authorization", "Bearer x")
    for pair in ((good, good), (good, bad), (bad, good), (good, ("Authorization", "Basic x"))):
        yield "two authorizations", pair
    upgrade: Headers = (
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "eA=="),
    )
    for protocol in ("websocket", "h2c", "TLS/1.0"):
        yield "upgrade", (*upgrade, ("upgrade", protocol))


def _not_bearer(key: str) -> Iterator[str]:
    yield from (
        "",
        "Bearer",
        "Bearer ",
        "Bearer null",
        "Bearer none",
        "Bearer undefined",
        "Bearer *",
        "Bearer true",
    )
    yield from (key, f"Basic {key}", f"Token {key}", f"Digest {key}", f"Bearer={key}", f"Bearer:{key}")
    yield from (f"Bearer {key}x", f"Bearer {key[:-1]}", f"Bearer {key.upper()}", f"Bearer {key} {key}")
    yield from (
        f"Bearer {key},{key}",
        f'Bearer "{key}"',
        f"Bearer {key}\xa0",
        f"Bearer\xa0{key}",
        f"Bearer {key};",
    )
    yield from (
        f"BearerX {key}",
        f"Bearer Bearer {key}",
        f"Bearer {key.encode().hex()}",
        "Bearer " + "0" * 64,
    )
