"""Programs that come with Debian packages and not with this project."""

import os

import pytest

from loadtests.prometheus_server import ToolMissing, tool


def require(program: str, package: str) -> str:
    """Where a program lies. Without it the test is skipped, but in CI, which installs it, that fails."""
    try:
        return tool(program, package)
    except ToolMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and .ci/run installs it")
        pytest.skip(str(missing))
