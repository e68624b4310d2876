import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app import keys
from app.keys import InvalidKeysFile, KeyRing, new_key

DIGEST = hashlib.sha256(b"secret").hexdigest()
ENTRY = {"id": "k1", "sha256": DIGEST, "tenant": "acme"}


def load(tmp_path: Path, content: Any) -> KeyRing:
    path = tmp_path / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return KeyRing.load(path)


def test_a_key_is_found_by_its_digest(tmp_path: Path) -> None:
    ring = load(tmp_path, [ENTRY])
    found = ring.find(b"secret")
    assert found is not None
    assert (found.id, found.tenant, set(found.scopes)) == ("k1", "acme", {"chat", "decide"})
    assert ring.find(b"Secret") is None
    assert ring.find(b"") is None
    assert ring.find(DIGEST.encode()) is None


def test_a_key_expires_on_its_day(tmp_path: Path) -> None:
    ring = load(tmp_path, [ENTRY | {"expires": "2027-01-01"}])
    assert ring.find(b"secret", date(2026, 12, 31)) is not None
    assert ring.find(b"secret", date(2027, 1, 1)) is None


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "{}",
        [],
        [ENTRY, ENTRY],
        [ENTRY, ENTRY | {"id": "k2"}],
        [ENTRY | {"sha256": "secret"}],
        [ENTRY | {"scopes": ["root"]}],
        [ENTRY | {"requests_per_second": 0}],
        [ENTRY | {"concurrency": -1}],
        [ENTRY | {"expires": "soon"}],
        [ENTRY | {"tenant": "a\nb"}],
        [ENTRY | {"quota": 1}],
        [{"id": "k1", "tenant": "acme"}],
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InvalidKeysFile, match="keys file"):
        load(tmp_path, content)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes('[{"tenant": "müller"}]'.encode("latin-1"))
    with pytest.raises(InvalidKeysFile, match="malformed"):
        KeyRing.load(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeysFile):
        KeyRing.load(tmp_path / "none.json")


def test_new_keys_differ_and_open_their_entry() -> None:
    key, entry = new_key("acme")
    other, _ = new_key("acme")
    assert key != other
    assert KeyRing([entry]).find(key.encode()) == entry


def test_the_command_prints_a_key_and_its_entry(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert keys.main(["new", "--tenant", "acme", "--id", "k9", "--scope", "metrics"]) == 0
    key, entry = capsys.readouterr().out.splitlines()
    found = load(tmp_path, f"[{entry}]").find(key.encode())
    assert found is not None
    assert (found.id, found.tenant, found.scopes) == ("k9", "acme", ("metrics",))
    assert key not in entry


def test_the_command_refuses_a_bad_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["new", "--tenant", "a b"]) == 2
    assert "error" in capsys.readouterr().err


def test_the_command_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        keys.main(["new", "--help"])
    assert "what the key may do" in capsys.readouterr().out
