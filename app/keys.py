"""API keys: the format of the keys file, the ring that recognises a key, and the command that makes one."""

import argparse
import hashlib
import hmac
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

Scope = Literal["chat", "decide", "metrics"]

KEY_BYTES = 32
KEY_PREFIX = "rp-"


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the keys file.

    Attributes:
        id: name of the key in logs; not secret.
        sha256: hex digest of the whole key.
        tenant: who shares prefix-cache blocks with this key.
        scopes: what the key may do.
        requests_per_second: sustained rate, with bursts of one second's worth; None sets no limit.
        tokens_per_minute: prompt and generated tokens together; None sets no limit.
        concurrency: requests in progress at once; None sets no limit.
        expires: first day (UTC) on which the key is refused.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    scopes: tuple[Scope, ...] = ("chat", "decide")
    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tokens_per_minute: Annotated[int, msgspec.Meta(gt=0)] | None = None
    concurrency: Annotated[int, msgspec.Meta(gt=0)] | None = None
    expires: date | None = None

    def has_expired(self, today: date | None = None) -> bool:
        """Whether it is refused by now."""
        return self.expires is not None and (today or datetime.now(UTC).date()) >= self.expires


class InvalidKeysFile(ValueError):
    """The keys file cannot be used; the message is for the operator."""


class KeyRing:
    """The keys that this server knows.

    Raises:
        InvalidKeysFile: two entries with one id or one digest, or no entry at all.
    """

    def __init__(self, entries: Sequence[KeyEntry]) -> None:
        if not entries:
            raise InvalidKeysFile("the keys file holds no key")
        for name in ("id", "sha256"):
            if len({getattr(entry, name) for entry in entries}) < len(entries):
                raise InvalidKeysFile(f"two entries of the keys file have the same {name}")
        self.entries = tuple(entries)
        self._digests = [(bytes.fromhex(entry.sha256), entry) for entry in entries]

    @property
    def tenants(self) -> list[str]:
        """Those that have keys, each once, in the order of the file."""
        return list(dict.fromkeys(entry.tenant for entry in self.entries))

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """Read a keys file.

        Raises:
            InvalidKeysFile: it cannot be read, is not a JSON list of entries, or has duplicates.
        """
        return cls.parse(read_keys_file(path))

    @classmethod
    def parse(cls, content: bytes) -> "KeyRing":
        """The keys of a file's content.

        Raises:
            InvalidKeysFile: it is not a JSON list of entries, or has duplicates.
        """
        try:
            return cls(msgspec.json.decode(content, type=list[KeyEntry]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidKeysFile(f"the keys file is malformed: {error}") from error

    def find(self, key: bytes, today: date | None = None) -> KeyEntry | None:
        """The entry of a key that is known and has not expired; compares every digest in constant time."""
        digest = hashlib.sha256(key).digest()
        found = None
        for known, entry in self._digests:
            if hmac.compare_digest(known, digest):
                found = entry
        return None if found is None or found.has_expired(today) else found


def read_keys_file(path: Path) -> bytes:
    """The content of a keys file.

    Raises:
        InvalidKeysFile: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidKeysFile(f"cannot read the keys file: {error.strerror}") from error


def new_key(tenant: str, key_id: str | None = None, scopes: Sequence[Scope] = ()) -> tuple[str, KeyEntry]:
    """A fresh random key of 256 bits, and the entry that admits it."""
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    fields = {
        "id": key_id or "k-" + secrets.token_hex(4),
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "tenant": tenant,
        "scopes": tuple(scopes) or ("chat", "decide"),
    }
    return key, msgspec.convert(fields, KeyEntry)


def main(argv: Sequence[str]) -> int:
    """Run `keys new`: the key goes to standard output once, then the entry to add to the keys file."""
    parser = argparse.ArgumentParser(prog="python -m app keys", description="Make API keys.")
    new = parser.add_subparsers(required=True).add_parser("new", help="print a new key and its entry")
    new.add_argument("--tenant", required=True, help="who the key belongs to")
    new.add_argument("--id", help="name of the key in logs; default: random")
    new.add_argument(
        "--scope",
        action="append",
        choices=get_args(Scope),
        default=[],
        help="what the key may do; give it once for each scope; default: chat and decide",
    )
    options = parser.parse_args(argv)
    try:
        key, entry = new_key(options.tenant, options.id, options.scope)
    except msgspec.ValidationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(key)
    shown = {name: value for name, value in msgspec.to_builtins(entry).items() if value is not None}
    print(msgspec.json.encode({"scopes": entry.scopes} | shown).decode())
    return 0
