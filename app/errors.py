"""The domain's error tree; knows no status codes (those live in one table in `app.api.error_handlers`).

    ReparteeError
    ├── InvalidRequest             the client must change the request
    │   ├── UnsupportedParameter   a field we know and cannot honour
    │   ├── ContextLengthExceeded
    │   │   ├── AnswerTooLong      the prompt fits, but not with all the tokens asked for
    │   │   └── CacheSizeExceeded  so many label tokens that the KV cache cannot hold them
    │   ├── InvalidJson
    │   ├── TooManyKeys
    │   ├── UnsupportedMediaType   the body does not call itself JSON
    │   ├── BodyTooLarge
    │   ├── BodyTimeout            the body did not arrive in time
    │   ├── MalformedHttp          what came is no HTTP/1.1, or leaves in doubt where a body ends
    │   ├── UrlTooLong
    │   ├── HeadersTooLarge
    │   ├── HeadersTimeout         the head of the request did not arrive in time
    │   ├── ContentFiltered        a rule of the operator's policy forbids what it says
    │   ├── PreflightRefused       a browser may not call this service from that page
    │   └── ForeignPage            a page with a name of its own for this machine asks for no permission
    ├── AuthenticationFailed       no key, or a wrong one
    ├── PermissionDenied           a good key without the scope
    ├── ModelNotFound
    ├── QuotaExceeded              this key's quota; carries `retry_after`
    ├── Unavailable                the service's own state; carries `retry_after`
    │   ├── Overloaded
    │   ├── Starting
    │   ├── Draining
    │   └── EngineRestarting
    ├── DeadlineExceeded           the request's own deadline passed before its first byte
    └── EngineFailure              our fault
        ├── SequenceFailed         this request's forward pass failed; no other request was touched
        └── EngineDied             the engine process ended under this request

Messages come from here and never contain the client's own text.
"""

import random
from typing import Literal


class ReparteeError(Exception):
    """Base of every expected failure.

    Args:
        message: fixed English sentence, safe to show to a client.
        param: name of the request field at fault, if there is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(ReparteeError):
    """The request can never succeed as it is."""


class UnsupportedParameter(InvalidRequest):
    """A documented field whose value this server cannot honour."""

    def __init__(self, param: str) -> None:
        super().__init__("This field is not supported by this server.", param)


class ContextLengthExceeded(InvalidRequest):
    """Prompt plus requested tokens do not fit the model's context."""

    def __init__(self, limit: int, param: str = "messages") -> None:
        super().__init__(f"The prompt does not fit this model's context of {limit} tokens.", param)


class AnswerTooLong(ContextLengthExceeded):
    """The prompt fits the context, but not together with `max_tokens`."""

    def __init__(self, limit: int, param: str) -> None:
        InvalidRequest.__init__(
            self, f"The prompt and {param} together do not fit this model's context of {limit} tokens.", param
        )


class CacheSizeExceeded(ContextLengthExceeded):
    """Prompt and labels of one question together do not fit the server's KV cache."""

    def __init__(self, limit: int, param: str) -> None:
        InvalidRequest.__init__(
            self, f"The text and all labels do not fit this server's cache of {limit} tokens.", param
        )


class InvalidJson(InvalidRequest):
    """The request body is not one JSON document that this server reads."""

    def __init__(self) -> None:
        super().__init__(
            "The request body must be one JSON document in UTF-8, without duplicate keys, NaN or Infinity, "
            "lone surrogates, nesting deeper than 32, or more objects than any request needs."
        )


class TooManyKeys(InvalidRequest):
    """An object of the request body has more keys than any field of ours takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"An object in the request body has more than {limit:,} keys.")


class UnsupportedMediaType(InvalidRequest):
    """The request body is declared as something else than JSON."""

    def __init__(self) -> None:
        super().__init__("The content type must be application/json.")


class BodyTooLarge(InvalidRequest):
    """The request body is longer than the server reads."""

    def __init__(self) -> None:
        super().__init__("The request body is too large.")


class BodyTimeout(InvalidRequest):
    """The request body was not complete in time."""

    def __init__(self) -> None:
        super().__init__("The request body did not arrive in time.")


class MalformedHttp(InvalidRequest):
    """The bytes on the connection are no request that all parsers would read alike."""

    def __init__(self) -> None:
        super().__init__("The request is not well-formed HTTP/1.1.")


class UrlTooLong(InvalidRequest):
    """The request target is longer than the server reads."""

    def __init__(self) -> None:
        super().__init__("The URL is too long.")


class HeadersTooLarge(InvalidRequest):
    """The header fields are more, or longer, than the server reads."""

    def __init__(self) -> None:
        super().__init__("The request has too many or too long header fields.")


class HeadersTimeout(InvalidRequest):
    """The head of the request was not complete in time."""

    def __init__(self) -> None:
        super().__init__("The header fields of the request did not arrive in time.")


class PreflightRefused(InvalidRequest):
    """A browser asks on behalf of a page that may not call this service, or not with that method."""

    def __init__(self) -> None:
        super().__init__("This origin, method or header is not allowed to browsers here.")


class ForeignPage(InvalidRequest):
    """A page of another site takes this service for its own, and there are no keys that it could lack."""

    def __init__(self) -> None:
        super().__init__(
            "Pages of this origin may not call this server: REPARTEE_CORS_ORIGINS does not name it."
        )


class ContentFiltered(InvalidRequest):
    """A rule of the operator's policy refuses what the request says."""

    def __init__(self, param: str) -> None:
        super().__init__("The policy of this server does not allow this content.", param)


class AuthenticationFailed(ReparteeError):
    """The key is missing or unknown; the answer is the same for both."""

    def __init__(self) -> None:
        super().__init__("Incorrect or missing API key.")


class PermissionDenied(ReparteeError):
    """The key is good, but its scopes do not cover this route."""

    def __init__(self) -> None:
        super().__init__("This API key is not allowed to use this route.")


class ModelNotFound(ReparteeError):
    """The named model is not the one served here."""

    def __init__(self) -> None:
        super().__init__("The model does not exist on this server.", "model")


Quota = Literal["requests per second", "tokens per minute", "requests at once"]


class QuotaExceeded(ReparteeError):
    """This key used up its own quota.

    Args:
        quota: which of its quotas.
        retry_after: seconds until the same request would be admitted.
    """

    def __init__(self, quota: Quota, retry_after: float) -> None:
        super().__init__(f"Rate limit reached for this API key: {quota}.")
        self.retry_after = retry_after


class Unavailable(ReparteeError):
    """The service's own state forbids the request now.

    Args:
        retry_after: seconds after which a retry is worthwhile; up to half as much is added by chance, so that those
            who were refused together do not come back together.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after * random.uniform(1.0, 1.5)


class Overloaded(Unavailable):
    """The queue is full, or so long that the answer would come too late."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("The server is overloaded.", retry_after)


class Starting(Unavailable):
    """The model is still being loaded."""

    def __init__(self, retry_after: float = 2.0) -> None:
        super().__init__("The server is starting.", retry_after)


class Draining(Unavailable):
    """The server is shutting down and takes no new work."""

    def __init__(self, retry_after: float = 5.0) -> None:
        super().__init__("The server is shutting down.", retry_after)


class EngineRestarting(Unavailable):
    """The engine process ended and is being started again."""

    def __init__(self, retry_after: float = 2.0) -> None:
        super().__init__("The engine is restarting.", retry_after)


class DeadlineExceeded(ReparteeError):
    """The request's own deadline passed before its first token."""

    def __init__(self) -> None:
        super().__init__("The deadline of this request passed before its first token.")


class EngineFailure(ReparteeError):
    """The engine could not finish an accepted request."""


class SequenceFailed(EngineFailure):
    """The forward pass of this request failed."""

    def __init__(self) -> None:
        super().__init__("The model failed on this request.")


class EngineDied(EngineFailure):
    """The engine process ended before the request did."""

    def __init__(self) -> None:
        super().__init__("The engine stopped before this request was finished.")
