"""What Schemathesis makes of the service's own OpenAPI document, and what it says of the answers.

A seed does not make all its cases again; the bytes of one that fails are kept, as those of all inputs are.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, product
from typing import Any, cast

import hypothesis
import requests
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, CheckFunction, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.generation.modes import GenerationMode

from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece, Site, head
from loadtests.reliability.fuzz.wire import Reply

SOURCE = "openapi"
CHECKED = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
)
_BLOCK = 15

AnyCase = Case[Any]
_OURS = frozenset({"host", "authorization", "connection", "accept-encoding", "user-agent"})


class OpenApiCases:
    """Cases for every operation, good data and bad in turn.

    Args:
        document: of the service. Where it says that a field is the model's name, good data get the name that is served.
    """

    def __init__(self, document: dict[str, Any], site: Site, seed: int) -> None:
        load_all_checks()
        self._site, self._seed = site, seed
        self._schema = schemathesis.openapi.from_dict(_as_tried(document, site.model))
        rejection = self._schema.config.checks.negative_data_rejection
        # A body that is too large is refused before it is looked at.
        rejection.expected_statuses = [*rejection.expected_statuses, "413"]
        self._operations = [
            found.ok() for found in self._schema.get_all_operations() if isinstance(found, Ok)
        ]
        self._checks = cast(list[CheckFunction], CHECKS.get_by_names(list(CHECKED)))
        self._cases: dict[int, tuple[AnyCase, requests.PreparedRequest]] = {}

    def attempts(self) -> Iterator[Attempt]:
        """Without end."""
        index = 0
        for case in self._endless():
            try:
                base = f"http://{self._site.host}:{self._site.port}"
                request = requests.Request(**case.as_transport_kwargs(base_url=base)).prepare()
                made = self._attempt(case, request, index)
            except (ValueError, TypeError, requests.RequestException):
                continue  # headers that cannot be written as such
            self._cases[index] = case, request
            index += 1
            yield made

    def faults(self, attempt: Attempt, reply: Reply) -> list[str]:
        """What the document says otherwise than the answer does."""
        case, request = self._cases.pop(attempt.index)
        answer = Response(
            status_code=reply.status,
            headers={name: [value] for name, value in reply.headers.items()},
            content=reply.body,
            request=request,
            elapsed=0.0,
            verify=False,
        )
        try:
            case.validate_response(answer, checks=self._checks)
        except FailureGroup as group:
            return [f"{failure.title}: {_first_line(failure.message)}" for failure in group.exceptions]
        return []

    def _endless(self) -> Iterator[AnyCase]:
        """Cases by chance, and between them those at the bounds of the schemas until there are no more."""
        bounds = self._bounds()
        for case in self._by_chance():
            yield case
            yield from islice(bounds, 1)

    def _bounds(self) -> Iterator[AnyCase]:
        config = self._schema.config.generation
        for operation in self._operations:
            yield from self._schema.iter_coverage_cases(
                operation, generation_modes=list(GenerationMode), generation_config=config
            )

    def _by_chance(self) -> Iterator[AnyCase]:
        block, fruitless = 0, set[tuple[str, GenerationMode]]()
        while True:
            for operation, mode in product(self._operations, GenerationMode):
                if (operation.label, mode) not in fruitless:
                    block += 1
                    found = _generate(operation.as_strategy(generation_mode=mode), self._seed_of(block))
                    if len(found) <= 1:  # nothing in it can be chosen, or be wrong
                        fruitless.add((operation.label, mode))
                    yield from found

    def _seed_of(self, block: int) -> int:
        return random.Random(f"{self._seed}/{SOURCE}/{block}").getrandbits(32)

    def _attempt(self, case: AnyCase, request: requests.PreparedRequest, index: int) -> Attempt:
        """The case as bytes."""
        body = request.body or b""
        assert isinstance(body, str | bytes)
        content = body.encode() if isinstance(body, str) else body
        fields = [(name, str(value)) for name, value in request.headers.items() if name.lower() not in _OURS]
        if not any(name.lower() == "content-length" for name, _ in fields):
            fields.append(("Content-Length", str(len(content))))
        method = str(request.method)
        data = head(self._site, method, request.path_url, fields) + content
        mode = case.meta.generation.mode.value if case.meta else "any"
        what = f"{case.operation.label}, {mode} data"
        return Attempt(SOURCE, index, what, (Piece(data),), Expected.WHOLE, (method,))


def _generate(strategy: Any, seed: int) -> list[AnyCase]:
    found: list[AnyCase] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=_BLOCK,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def collect(case: AnyCase) -> None:
        found.append(case)

    with suppress(Unsatisfiable):  # of an operation that takes nothing, no data are bad
        collect()
    return found


def _as_tried(document: dict[str, Any], model: str) -> dict[str, Any]:
    """With the served model's name, and without what a request brings beside its body.

    A deadline that is well-formed may be too short for any answer, and keys are this campaign's own.
    """
    document["components"].pop("securitySchemes", None)
    for operation in (one for operations in document["paths"].values() for one in operations.values()):
        operation.pop("security", None)
        if "parameters" in operation:
            operation["parameters"] = [one for one in operation["parameters"] if one["in"] != "header"]
    for schema in document["components"]["schemas"].values():
        if (field := schema.get("properties", {}).get("model")) is not None and field.get("type") == "string":
            field["enum"] = [model]
    return document


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
