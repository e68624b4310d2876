"""What routes ask of the application and of the request, as annotated dependencies.

All of them are coroutines that never wait: the framework would run a plain function in a thread of its own, and that
hop costs more than all else that a request needs before it reaches the engine.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.engine.interface import Engine
from app.errors import InvalidRequest, ModelNotFound
from app.metrics import Metrics
from app.observation import Observation
from app.services.chat import ChatService
from app.services.completions import CompletionService
from app.services.decisions import DecisionService
from app.services.sampling_defaults import SamplingDefaults
from app.services.tokenizer import Tokenizer
from app.settings import Settings

TIMEOUT_HEADER = "x-request-timeout-ms"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the application; at `app.state.services`."""

    settings: Settings
    engine: Engine
    metrics: Metrics
    tokenizer: Tokenizer
    chat: ChatService
    completions: CompletionService
    decisions: DecisionService
    defaults: SamplingDefaults
    created: int
    """Unix time of the start: when the model came to be, as far as clients see."""

    @property
    def max_model_len(self) -> int | None:
        """Longest sequence in tokens; None until the engine was ready."""
        return self.engine.info.max_model_len if self.engine.info else None

    def check_model(self, name: str | None) -> None:
        """Refuse a name that is not the served one; None is no name.

        Raises:
            ModelNotFound: as said.
        """
        if name is not None and name != self.settings.served_name:
            raise ModelNotFound


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _observation(request: Request) -> Observation:
    observation: Observation = request.state.observation
    return observation


async def _timeout(request: Request) -> float | None:
    """Seconds from arrival to the deadline that the client sets; None when it sets none."""
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) > 0):
        raise InvalidRequest("The deadline must be a whole number of milliseconds above 0.", TIMEOUT_HEADER)
    seconds = int(value) / 1000
    observation: Observation = request.state.observation
    observation.client_deadline = seconds
    return seconds


async def _tenant(request: Request) -> str:
    return str(request.state.principal.tenant)


ServicesDep = Annotated[Services, Depends(_services)]
ObservationDep = Annotated[Observation, Depends(_observation)]
TimeoutDep = Annotated[float | None, Depends(_timeout)]
TenantDep = Annotated[str, Depends(_tenant)]
