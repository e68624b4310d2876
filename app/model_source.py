"""Finds the model's directory: a local path as it is, a hub id through the hub's own client."""

import re
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\Z")
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
_TOKENIZER = "tokenizer.json"


class ModelNotAvailable(Exception):
    """No such directory, no such model on a hub that can be reached, or no tokenizer; for the operator."""


class ModelNotFetched(ModelNotAvailable):
    """A model of the hub that is not on this machine yet."""


def model_directory(model: str, *, fetch: bool = True) -> Path:
    """Directory of `model`, downloaded first where it is a hub id (safetensors and tokenizer files only).

    Args:
        fetch: download what is not here.

    Raises:
        ModelNotAvailable: with what to do about it; without `fetch`, ModelNotFetched where a download may help.
    """
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            return _with_tokenizer(path.resolve())
        stranger = path.exists() or not _HUB_ID.match(model)
    except RuntimeError as error:
        raise ModelNotAvailable(f"REPARTEE_MODEL names {model}, the home of a user who has none.") from error
    except OSError as error:  # out of this user's reach, or too long
        detail = f"which cannot be looked at: {error.strerror}"
        raise ModelNotAvailable(f"REPARTEE_MODEL names {model}, {detail}.") from error
    if stranger:
        raise ModelNotAvailable(f"REPARTEE_MODEL names {model}, which is neither a directory nor a hub id.")
    from huggingface_hub import snapshot_download  # slow to import, and seldom needed
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        fetched = Path(snapshot_download(model, allow_patterns=_FILES, local_files_only=not fetch))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if not fetch:
            raise ModelNotFetched(
                f"REPARTEE_MODEL names {model}, which is not on this machine yet: a start fetches it from the hub"
            ) from error
        raise ModelNotAvailable(
            f"REPARTEE_MODEL names {model}, which is no local directory and could not be fetched from the hub: {error}"
        ) from error
    return _with_tokenizer(fetched)


def _with_tokenizer(directory: Path) -> Path:
    """The directory, if it has what the API process itself reads; the engine tells of all else."""
    if not (directory / _TOKENIZER).is_file():
        raise ModelNotAvailable(f"REPARTEE_MODEL names {directory}, which has no {_TOKENIZER}.")
    return directory
