"""SamplingDefaults: how a model wants its tokens chosen where the client does not say."""

from typing import Annotated

import msgspec

from app.services.model_file import read_model_file

FILE_NAME = "generation_config.json"


class SamplingDefaults(msgspec.Struct, frozen=True):
    """The sampling part of a generation config; without one the defaults are OpenAI's.

    Makers of a model state here what it was tuned for, and a small model at temperature 1 writes nonsense. The bounds
    are those of the API.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None


def load_sampling_defaults(model: str) -> SamplingDefaults:
    """Those of a model's directory.

    Raises:
        InvalidModelFile: the file is there and cannot be used.
    """
    return read_model_file(model, FILE_NAME, SamplingDefaults) or SamplingDefaults()
