"""Locust scenarios of a customer-service front end: users who wait for answers, or arrivals by the clock.

    locust -f loadtests/locustfile.py Customers --headless -u 8 -r 4 -t 60s --host URL
    locust -f loadtests/locustfile.py Customers --headless --steps 4,8,16 --step-seconds 20 --host URL
    locust -f loadtests/locustfile.py Arrivals --headless --steps 4,8,16 --step-seconds 20 --samples FILE --host URL
    locust -f loadtests/locustfile.py Arrivals --headless --sweep 2:64:6 --step-seconds 10 --host URL

Of `Customers` the steps are users (closed loop), of `Arrivals` requests a second (open loop, Poisson; latency counts
from when a request was due); where the client itself is late, the run is void and ends with exit code 4. The API key is
taken from OPENAI_API_KEY. Raw samples go to a file, which is begun anew: locust rounds its own. The end of a run waits
for the answers, and each request has failed after --timeout, so that a server that hangs is seen to.
Only `iter_content(chunk_size=None)` hands bytes on as they arrive: FastHttpUser reports the end of an answer
as its first token.
"""

import os
import random
import sys
import time
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, LoadTestShape, between, events, task
from locust.env import Environment
from locust.exception import StopUser
from msgspec.structs import replace
from urllib3 import PoolManager

from app.bench.ask import Ask
from app.bench.client import Timeline
from app.bench.client_lag import ClientLag
from app.bench.http_stream import RequestFailed
from app.bench.loops import poisson
from app.bench.options import positive
from app.bench.sample import Sample, as_line
from app.bench.voided import MOST_LAG_SECONDS, void_reason
from loadtests.front_end import KINDS, FrontEnd
from loadtests.stages import Stage, arrivals, parse_stages

EXIT_REFUSED = 2
EXIT_VOID = 4
_CONNECTIONS = 1024
_lag = ClientLag()
_sent: list[Sample] = []
"""Without their gaps: whether the run is void is found in all of them."""


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
    group = parser.add_argument_group("front end")
    group.add_argument("--steps", default="", help="users or requests/s of each stage, such as 4,8,16")
    group.add_argument("--sweep", default="", help="FROM:TO:STAGES, each greater than the last by one factor")
    seconds = positive(float, 3600)
    group.add_argument("--step-seconds", type=seconds, default=20.0, help="of each stage")
    group.add_argument("--most-lag", type=positive(float, 60), default=MOST_LAG_SECONDS,
                       help="p99 of the client's lag that voids the run, seconds")  # fmt: skip
    group.add_argument("--timeout", type=seconds, default=60.0, help="of one request, seconds")
    group.add_argument("--samples", default="", help="file for one JSON line a request")
    group.add_argument("--kinds", default="", help="comma-separated kinds of the mix; default: all")
    group.add_argument("--seed", type=int, default=None)


@events.init.add_listener
def _check(environment: Environment, **_: Any) -> None:
    """What is wrong with the options, in one line, before anything is sent."""
    options: Any = environment.parsed_options
    # Locust's own way is to kill what is under way at the end, and to count none of it.
    environment.stop_timeout = environment.stop_timeout or options.timeout
    try:
        if options.steps or options.sweep:
            _stages(options)
        if strange := set(filter(None, options.kinds.split(","))) - set(KINDS):
            raise ValueError(f"{', '.join(sorted(strange))} is not among {', '.join(KINDS)}")
        if options.headless and not options.host:
            raise ValueError("--host is missing, the address of the server")
        if options.samples:
            Path(options.samples).write_bytes(b"")
    except ValueError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}")


@events.test_start.add_listener
def _watch_lag(**_: Any) -> None:
    def watch() -> None:
        while True:
            gevent.sleep(_lag.falls_asleep())
            _lag.wakes_up()

    gevent.spawn(watch)


def _refuse(reason: str) -> None:
    print(f"loadtests/locustfile.py: {reason}", file=sys.stderr)
    sys.exit(EXIT_REFUSED)


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    options: Any = environment.parsed_options
    if void := void_reason(_sent, options.most_lag):
        print(f"loadtests/locustfile.py: {void}", file=sys.stderr)
        environment.process_exit_code = EXIT_VOID


class _Recorder(HttpUser):
    """Sends requests of the mix and keeps their samples."""

    abstract = True
    pool_manager = PoolManager(maxsize=_CONNECTIONS, block=False)

    def on_start(self) -> None:
        """Learn the model's name, once for all users, and take the key."""
        if key := os.environ.get("OPENAI_API_KEY"):
            self.client.headers["Authorization"] = f"Bearer {key}"
        options = self.environment.parsed_options
        with self.client.get(
            "/v1/models", name="models", catch_response=True, timeout=options.timeout
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                said = (
                    f"answers with status {response.status_code}"
                    if response.status_code
                    else "does not answer"
                )
                self._give_up(f"{self.host}/v1/models {said}")
            model = response.json()["data"][0]["id"]
        self.front_end = _front_end(model, options.seed)
        self.kinds = options.kinds.split(",") if options.kinds else []

    def _give_up(self, reason: str) -> None:
        if self.environment.process_exit_code is None:  # of many users, the first tells
            print(f"loadtests/locustfile.py: {reason}", file=sys.stderr)
            self.environment.process_exit_code = EXIT_REFUSED
        self.environment.runner.quit()
        raise StopUser

    def send(self, stage: float, due: float | None = None) -> None:
        """One request, due at an instant of `time.perf_counter` or now; its failure is in the sample."""
        ask = (
            self.front_end.ask(self.front_end.chooser.choice(self.kinds))
            if self.kinds
            else self.front_end.next_ask()
        )
        timeline = Timeline(time.perf_counter())
        due = timeline.sent if due is None else due
        sample = Sample(ask.kind, ask.task, stage, due - _began(), lag=max(_lag.now, timeline.sent - due))
        limit = self.environment.parsed_options.timeout
        try:
            # That of requests is of one read, and comments which keep a connection alive begin it anew.
            with gevent.Timeout(limit, RequestFailed(f"No whole answer within {limit:g} s.")):
                self._exchange(ask, timeline)
        except (RequestFailed, OSError) as error:  # requests' own errors are OSErrors
            sample.fail(" ".join(str(error).split()))
        except gevent.GreenletExit:
            sample.fail("Given up.")
            raise
        else:
            sample.outcome = "left" if ask.leave_after is not None else "ok"
        finally:
            sample.total = (timeline.ended or time.perf_counter()) - due
            sample.note(timeline, due)
            ask.answered("".join(timeline.said) if sample.outcome == "ok" else None)
            self._record(sample)
            if sample.error and not timeline.ended:  # it broke before locust had a response to count
                self._fire("POST", sample.kind, sample.total, RequestFailed(sample.error))

    def _exchange(self, ask: Ask, timeline: Timeline) -> None:
        body = ask.body
        if ask.is_stream:
            body = body | {"stream": True, "stream_options": {"include_usage": True}}
        with self.client.request(
            "POST", f"/v1{ask.path}", json=body, stream=True, catch_response=True
        ) as response:
            try:
                self._read(ask, response, timeline)
            except (RequestFailed, OSError) as error:
                response.failure(str(error))
                raise
            finally:
                timeline.ended = time.perf_counter()
                response.request_meta["name"] = ask.kind
                # Locust's own clock of a streamed request stops at its headers.
                response.request_meta["response_time"] = (timeline.ended - timeline.sent) * 1e3
            response.success()

    def _read(self, ask: Ask, response: Any, timeline: Timeline) -> None:
        if response.status_code != 200:
            raise RequestFailed(f"Status {response.status_code}: {response.text[:200]}")
        for piece in response.iter_content(chunk_size=None):
            if ask.is_stream:
                timeline.feed(time.perf_counter(), piece)
            if ask.leave_after is not None and len(timeline.texts) >= ask.leave_after:
                response.close()
                return
        if ask.is_stream and not timeline.tokens:
            raise RequestFailed("The stream ended without usage.")

    def _record(self, sample: Sample) -> None:
        if sample.first is not None:
            self._fire("TTFT", sample.kind, sample.first)
        self._fire("lag", "client", sample.lag)
        _sent.append(replace(sample, gaps=[]))
        if path := self.environment.parsed_options.samples:
            with Path(path).open("ab") as file:
                file.write(as_line(sample))

    def _fire(self, kind: str, name: str, seconds: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=seconds * 1e3,
            response_length=0,
            exception=error,
            context={},
        )


class Customers(_Recorder):
    """Closed loop: somebody who waits for each answer and then thinks."""

    wait_time = between(0.1, 0.5)

    @task
    def ask(self) -> None:
        """One request."""
        # A user who is stopped while it thinks may wake up before it is killed, and must begin nothing then.
        gevent.sleep(0)
        self.send(self.environment.runner.target_user_count)


class Arrivals(_Recorder):
    """Open loop: one process of arrivals, each served by a greenlet of its own, whatever became of those before."""

    fixed_count = 1

    @task
    def arrive(self) -> None:
        """All arrivals of all stages; the run ends with the last answer."""
        options = self.environment.parsed_options
        began = time.perf_counter()
        sent = []
        try:
            for offset, rate in arrivals(
                _stages(options), lambda rate: poisson(rate, random.Random(options.seed))
            ):
                gevent.sleep(max(0.0, began + offset - time.perf_counter()))
                sent.append(gevent.spawn(self.send, rate, began + offset))
            gevent.joinall(sent)
        finally:
            gevent.killall(sent)  # where this one was killed
        self.environment.runner.quit()


class Stages(LoadTestShape):
    """The stages of a run; without any, the users and time of locust's own options."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Users and spawn rate now; None ends the run."""
        options = self.runner.environment.parsed_options
        stages, now = _stages(options), self.get_run_time()
        if any(issubclass(user, Arrivals) for user in self.runner.user_classes):
            # `Arrivals` ends by itself; this only keeps a server that never answers from holding it.
            return (1, 1) if now < sum(stage.seconds for stage in stages) + 2 * options.timeout else None
        for stage in stages:
            if now < stage.seconds:
                return round(stage.load), max(stage.load, 1)
            now -= stage.seconds
        return None


@cache
def _front_end(model: str, seed: int | None) -> FrontEnd:
    return FrontEnd(model, random.Random(seed))


@cache
def _began() -> float:
    return time.perf_counter()


def _stages(options: Namespace) -> list[Stage]:
    if options.steps or options.sweep:
        return parse_stages(options.steps, options.sweep, options.step_seconds)
    return [Stage(float(options.num_users or 1), float(options.run_time or options.step_seconds))]
