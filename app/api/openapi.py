"""What the OpenAPI document says beside what the framework finds in routes: who may ask, and by when."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from app.api.deps import TIMEOUT_HEADER
from app.api.middleware import TASK_OF_PATH
from app.api.security import SCOPE_OF_PATH, without_key

_KEY = "key"
_DEADLINE = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Milliseconds from arrival. Without a first token, or the decision, by then the answer is 504, or 503 at once "
        "where that is foreseen; an answer that has begun ends there, with the finish reason `length`."
    ),
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}


def complete_openapi(app: FastAPI, *, keys: bool, metrics_without_key: bool) -> None:
    """Add to the document of an application; requests pay nothing for it, as they would for the framework's own way.

    Args:
        keys: requests need one.
        metrics_without_key: as of `AuthMiddleware`.
    """
    open_paths = without_key(metrics=metrics_without_key)
    framework: Callable[[], dict[str, Any]] = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = framework()
            for path, operations in found["paths"].items():
                for operation in operations.values():
                    if path in TASK_OF_PATH:
                        operation.setdefault("parameters", []).append(_DEADLINE)
                    if keys:
                        _lock(path, operation, open_paths)
            if keys:
                scheme = {"type": "http", "scheme": "bearer", "description": "An API key of the keys file."}
                found["components"]["securitySchemes"] = {_KEY: scheme}
        return app.openapi_schema or {}

    app.openapi = document  # type: ignore[method-assign]


def _lock(path: str, operation: dict[str, Any], open_paths: frozenset[str]) -> None:
    operation["security"] = [] if path in open_paths else [{_KEY: []}]
    if (scope := SCOPE_OF_PATH.get(path)) and path not in open_paths:
        told = f"Needs a key with the scope `{scope}`."
        operation["description"] = f"{operation.get('description', '')}\n\n{told}".strip()
