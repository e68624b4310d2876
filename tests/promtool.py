"""`promtool check metrics`, from Debian's package `prometheus`."""

import os
import shutil
import subprocess

import pytest


def promtool(exposition: bytes) -> tuple[int, str]:
    """Exit status and complaints. Without promtool the test is skipped, but in CI, which installs it, that fails."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing, and .ci/run installs it")
        pytest.skip("promtool is missing; it comes with Prometheus")
    command = ["promtool", "check", "metrics"]
    check = subprocess.run(command, input=exposition, capture_output=True, timeout=60, check=False)
    return check.returncode, (check.stdout + check.stderr).decode()
