"""A real service starts and answers where every attempt to unpickle is refused; and an attempt is seen."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.no_pickle import MARK
from tests.service.running_service import MODEL, ROOT, running_service

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Where is my refund?"}], "max_tokens": 5}
CLASSIFY = {"model": MODEL, "input": "Where is my refund?", "labels": ["refund", "card"]}


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_a_start_and_requests_unpickle_nothing(dtype: str, tmp_path: Path) -> None:
    """With the native decoder, and through transformers."""
    with (
        (tmp_path / "log").open("wb") as log,
        running_service(stderr=log.fileno(), module="tests.service.no_pickle", dtype=dtype) as service,
    ):
        for path, body in (("chat/completions", CHAT), ("classify", CLASSIFY)):
            assert httpx.post(f"{service.url}/v1/{path}", json=body, timeout=60).status_code == 200
    text = (tmp_path / "log").read_text()
    assert "request" in text and MARK not in text


@pytest.mark.parametrize("planted", ["pickle", "torch"])
def test_an_attempt_is_refused_and_told(planted: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.no_pickle", "0"],
        cwd=ROOT,
        env=os.environ | {"PLANTED": planted},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert MARK in done.stderr and "PermissionError" in done.stderr
