"""The engine's process in /proc, and the log lines that were lost."""

import logging
import os
from queue import SimpleQueue

import pytest

from app import logs
from app.logs import ContextQueueHandler
from tests.exposition import metrics_with, samples, value

ENGINE = "repartee_engine_process_"


def test_the_engine_has_memory_and_processor_time_while_it_lives() -> None:
    metrics = metrics_with()
    assert not [name for name, _ in samples(metrics) if name.startswith(ENGINE)]
    metrics.engine_process(os.getpid())
    assert value(metrics, "engine_process_resident_memory_bytes") > 1_000_000
    assert value(metrics, "engine_process_cpu_seconds_total") > 0
    assert value(metrics, "engine_process_open_fds") > 0
    metrics.engine_process(None)
    assert not [name for name, _ in samples(metrics) if name.startswith(ENGINE)]


def test_a_process_that_has_just_gone_is_no_error() -> None:
    metrics = metrics_with()
    metrics.engine_process(2**22 + 1)  # beyond the largest process id of Linux
    assert not [name for name, _ in samples(metrics) if name.startswith(ENGINE)]


def test_log_lines_that_nobody_took_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 1)
    handler = ContextQueueHandler(SimpleQueue())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    metrics = metrics_with()
    assert value(metrics, "log_lines_dropped_total") == 0
    for _ in range(3):
        handler.handle(logging.LogRecord("a", logging.INFO, "b", 1, "c", None, None))
    assert value(metrics, "log_lines_dropped_total") == 2
