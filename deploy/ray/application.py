"""`deploy.ray.application:build`, which serve.yaml and rayservice.yaml import."""

import os

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from app.settings import Settings, load_settings
from deploy.ray.environment import VARIABLES
from deploy.ray.replica import Replica

NAME = "repartee"
DEPLOYMENT = "Replica"


class Arguments(BaseModel):
    """`args` of the application in a Serve config: none. Settings are environment variables here as elsewhere."""

    model_config = ConfigDict(extra="forbid")


def build(_: Arguments) -> Application:
    """The application with what follows from the settings; a Serve config may still set each deployment option."""
    return deployment(load_settings()).bind()


def deployment(settings: Settings) -> serve.Deployment:
    """The deployment, fitted to the limits of the service."""
    made = serve.deployment(
        name=DEPLOYMENT,
        # Admission is the application's: its 503 says when to come back. Above what it lets in, Ray would queue.
        max_ongoing_requests=2 * (settings.max_waiting + settings.max_running),
        # A stream that began before a replica was told to end still has its whole deadline.
        graceful_shutdown_timeout_s=settings.request_timeout_seconds + _draining_seconds(),
        graceful_shutdown_wait_loop_s=0.5,
        # One failed check takes a replica out of the proxy; three in a row replace it. An engine process that died
        # is back in a few seconds with a small model; raise this where loading takes longer than twice the period.
        health_check_period_s=5,
        health_check_timeout_s=10,
        max_constructor_retry_count=2,
        logging_config={"enable_access_log": False},  # the application has its own
    )(Replica)
    assert isinstance(made, serve.Deployment)
    return made


def _draining_seconds() -> float:
    name = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
    return float(os.environ.get(name, VARIABLES[name]))
