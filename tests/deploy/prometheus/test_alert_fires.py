"""From a fault to the pager and back, with nothing made up: service, Prometheus, Alertmanager, webhook.

Rules and Alertmanager's configuration are the shipped ones; only Prometheus scrapes and evaluates every second, where
it is shipped with five and fifteen. The availability page resolves while its short window still holds the fault: so
many good requests follow that the bad ones are less than 1.44 % of the window's five minutes. That is the rule's own
arithmetic, and it spares a test the five minutes of waiting for a clean window.
"""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from app.bench.ask import Ask, Server
from app.bench.loops import closed_loop, open_loop, poisson
from app.bench.questions import question
from app.bench.sample import Sample
from deploy.prometheus.burn_rates import MINIMUM_BAD_REQUESTS
from deploy.prometheus.generate import RULES
from tests.deploy.prometheus.alertmanager import Notice, receiving, running_alertmanager
from tests.deploy.prometheus_server import running_prometheus, scrape
from tests.service.running_service import MODEL, Service, running_service

LIGHT_RATE = 3.0
USERS = 2
HELD_SECONDS = 1.2
"""Eight times what a decision may take, and half of what counts as stuck."""
ANSWERED_SECONDS = 1.0
"""For what was held: requests that see one kill after another would be tried one at a time, and all others refused."""
PAGE_SECONDS = 180
_SCRAPED_SECONDS = 30


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something in another thread until the block ends; what it raises is raised here."""
    end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, end)
        try:
            yield
        finally:
            end.set()
        done.result(60)


class Traffic:
    """Classifications, and what became of them."""

    def __init__(self, service: Service) -> None:
        self._base = f"{service.url}/v1"
        self._chooser = random.Random(5)
        self.samples: list[Sample] = []

    def light(self, end: threading.Event) -> None:
        """A few a second, whatever became of those before."""

        def arrivals() -> Iterator[tuple[float, float]]:
            for offset in poisson(LIGHT_RATE, self._chooser):
                if end.is_set():
                    return
                yield offset, LIGHT_RATE

        async def load() -> None:
            server = Server(self._base)
            with server.connections:
                await open_loop(server, self._next_ask, arrivals(), self.samples)

        asyncio.run(load())

    def busy(self, end: threading.Event) -> None:
        """As many as a few clients get answered."""

        async def load() -> None:
            server = Server(self._base)
            while not end.is_set():
                await closed_loop(server, self._next_ask, USERS, 1_000_000, 1.0, self.samples)
            server.connections.close()

        asyncio.run(load())

    def failures(self) -> set[str]:
        return {sample.error for sample in self.samples if sample.outcome != "ok"}

    def _next_ask(self) -> Ask:
        body = {"model": MODEL, "input": question(self._chooser), "labels": ["order", "refund", "other"]}
        return Ask("classify", "decision", "/classify", body)


def break_engine(service: Service, end: threading.Event) -> None:
    """Kill the engine, and suspend the next one for a moment, again and again; returns when the service is ready."""
    while not end.is_set():
        os.kill(service.engine_process, signal.SIGKILL)
        while service.readiness() == 200:
            time.sleep(0.01)
        service.wait_ready()
        service.hold_engine()
        time.sleep(HELD_SECONDS)
        service.release_engine()
        end.wait(ANSWERED_SECONDS)


def burns(slo: str, status: str) -> Callable[[Notice], bool]:
    """Whether a notice pages for a fast burn of the shortest windows, or takes that back."""
    labels = {"alertname": "ReparteeErrorBudgetBurnFast", "slo": slo, "task": "decision", "window": "1h"}

    def wanted(notice: Notice) -> bool:
        about = labels.items() <= notice.labels.items()
        return about and (notice.receiver, notice.status) == ("/page", status)

    return wanted


def has_process(process: str) -> Callable[[Notice], bool]:
    """Whether a notice is a ticket for starts of a process."""
    labels = {"alertname": "ReparteeRestarting", "process": process}
    return lambda notice: notice.receiver == "/ticket" and labels.items() <= notice.labels.items()


@pytest.mark.slow
def test_a_broken_engine_pages_and_a_healthy_one_takes_it_back() -> None:
    rules = {file.name: file.read_text() for file in RULES.iterdir()}
    with (
        receiving() as receiver,
        running_service(log_level="error") as service,
        running_alertmanager(receiver) as alertmanager,
    ):
        config = scrape(service.url.removeprefix("http://")) | {
            "rule_files": sorted(rules),
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        }
        with running_prometheus(config, files=rules) as prometheus:
            prometheus.wait_for("count_over_time(repartee_ready[1m]) >= 3", _SCRAPED_SECONDS)
            healthy, broken, recovered = Traffic(service), Traffic(service), Traffic(service)
            with meanwhile(healthy.light):
                time.sleep(3)
            assert prometheus.firing() == {"ReparteeWatchdog"}

            began = time.monotonic()
            with meanwhile(broken.light), meanwhile(lambda end: break_engine(service, end)):
                page = receiver.wait_for(burns("availability", "firing"), PAGE_SECONDS)
                print(f"\navailability paged {page.at - began:.1f} s after the fault began")
                slow = receiver.wait_for(burns("e2e", "firing"), PAGE_SECONDS)
                print(f"slowness paged {slow.at - began:.1f} s after the fault began")

            ended = time.monotonic()
            with meanwhile(recovered.busy):
                resolved = receiver.wait_for(burns("availability", "resolved"), PAGE_SECONDS)
                receiver.wait_for(has_process("engine"), PAGE_SECONDS)
            took, count = resolved.at - ended, len(recovered.samples)
            print(f"availability resolved {took:.1f} s after the fault ended, with {count} good requests")

    assert healthy.samples and not healthy.failures()
    refused = [sample for sample in broken.samples if sample.error.startswith("Status 503")]
    assert len(refused) >= MINIMUM_BAD_REQUESTS
    assert not recovered.failures()
    assert page.annotations["runbook_url"].endswith("#reparteeerrorbudgetburnfast")
    assert (
        "of the decision requests of repartee-support within 1h failed or were refused"
        in (page.annotations["description"])
    )
    assert any(notice.receiver == "/watchdog" for notice in receiver.notices)
    paged = {(notice.labels["alertname"], notice.labels["slo"]) for notice in receiver.notices
             if notice.receiver == "/page"}  # fmt: skip
    assert paged == {("ReparteeErrorBudgetBurnFast", slo) for slo in ("availability", "e2e")}
