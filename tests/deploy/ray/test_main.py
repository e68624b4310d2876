"""`python -m deploy.ray` before it starts a cluster: what is wrong is told in one line, with code 2."""

import argparse
import os
import socket
import subprocess
import sys

import pytest

from deploy.ray.__main__ import CannotStart, Replicas, gpus_of_each
from tests.deploy.ray.cluster import ROOT


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"REPARTEE_PROT": "1"}, "did you mean REPARTEE_PORT"),
        ({"REPARTEE_MODEL": "/nowhere/here"}, "/nowhere/here"),
        ({"REPARTEE_HOST": "0.0.0.0"}, "there are no API keys"),
        ({"REPARTEE_HOST": "127.0.0.2"}, "HAProxy reaches replicas on 0.0.0.0 or 127.0.0.1"),
        ({"REPARTEE_API_KEYS_FILE": __file__}, "REPARTEE_API_KEYS_FILE is"),
        (
            {"REPARTEE_ANSWERS_FILE": "/nowhere/a.jsonl"},
            "REPARTEE_ANSWERS_FILE: cannot read /nowhere/a.jsonl",
        ),
        ({"RAY_SERVE_HAPROXY_STATS_PORT": "many"}, "set RAY_SERVE_HAPROXY_STATS_PORT"),
    ],
)
def test_a_wrong_setting_is_one_line(settings: dict[str, str], words: str) -> None:
    assert words in _refusal(settings)


@pytest.mark.parametrize("variable", ["REPARTEE_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT"])
def test_a_port_in_use_is_one_line(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = _refusal({variable: port})
    assert variable in line and port in line


@pytest.mark.parametrize(("text", "least", "most"), [("2", 2, 2), ("1:4", 1, 4)])
def test_replicas(text: str, least: int, most: int) -> None:
    replicas = Replicas.parse(text)
    assert (replicas.least, replicas.most) == (least, most)


@pytest.mark.parametrize("text", ["0", "3:2", "many", "1:2:3", "-1", ""])
def test_replicas_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        Replicas.parse(text)


@pytest.mark.parametrize(
    ("device", "gpus", "each"), [("cpu", 4, 0), ("auto", 0, 0), ("auto", 2, 1), ("cuda", 3, 1)]
)
def test_a_replica_gets_a_gpu_where_there_are_some(device: str, gpus: int, each: int) -> None:
    assert gpus_of_each(device, gpus, Replicas(1, 2)) == each


@pytest.mark.parametrize(("device", "gpus"), [("auto", 1), ("cuda", 0)])
def test_more_replicas_than_gpus_are_refused(device: str, gpus: int) -> None:
    with pytest.raises(CannotStart, match="REPARTEE_DEVICE=cpu"):
        gpus_of_each(device, gpus, Replicas(1, 2))


@pytest.mark.parametrize(("option", "value"), [("--cpus", "0"), ("--ongoing", "0"), ("--ongoing", "nan")])
def test_an_option_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    run = _run({}, option, value)
    assert run.returncode == 2
    assert option in run.stderr and "Traceback" not in run.stderr


def _refusal(settings: dict[str, str]) -> str:
    run = _run({"REPARTEE_PORT": "0"} | settings)
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    return line


def _run(settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.ray", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPARTEE_")}
    return subprocess.run(
        command, cwd=ROOT, env=environment | settings, capture_output=True, text=True, timeout=60, check=False
    )
