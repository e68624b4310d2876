"""What the operator is told of a start: one line a phase, then what is served and where."""

import logging
import sys

from app.engine.messages import Progress, Ready
from app.settings import Settings

logger = logging.getLogger(__name__)

_PHASES = {
    "import": "imported PyTorch and transformers",
    "kernels": "built or found the CPU kernels",
    "load": "loaded the model",
    "cache": "allocated the KV cache",
    "warmup": "warmed up",
}


def show_progress(progress: Progress) -> None:
    """Print one finished phase of the start."""
    phase = _PHASES.get(progress.phase, progress.phase)
    print(f"  {phase:<36}{progress.seconds:7.2f} s", file=sys.stderr, flush=True)


class StartReport:
    """Tells of each start of the engine: the first in full, later ones (after a failure) with one log line.

    Args:
        port: the port that is really listened on (it differs where the setting is 0).
        text: print lines for people; else the same facts are log lines, for all that is written is JSON then.
    """

    def __init__(self, settings: Settings, port: int, *, text: bool) -> None:
        self._settings, self._port, self._text = settings, port, text
        self._was_ready = False

    def starts(self) -> None:
        """The service begins to load its model."""
        if self._text:
            print(f"Repartee starts with {self._settings.model}", file=sys.stderr, flush=True)
        else:
            log("starting", model=self._settings.model)

    def progress(self, progress: Progress) -> None:
        """A phase of a start has ended."""
        if self._was_ready:
            return
        if self._text:
            show_progress(progress)
        else:
            log("phase of the start ended", phase=progress.phase, seconds=round(progress.seconds, 3))

    def ready(self, info: Ready) -> None:
        """The engine can serve."""
        if self._was_ready:
            logger.info("engine ready again")
        elif self._text:
            show_banner(self._settings, info, self._port)
        else:
            log_ready(self._settings, info, self._port)
        self._was_ready = True


def log(message: str, **fields: object) -> None:
    """One log line with fields."""
    logger.info(message, extra={"fields": fields})


def log_ready(settings: Settings, info: Ready, port: int) -> None:
    """What the banner says, as one log line."""
    log(
        "ready",
        model=settings.served_name,
        url=_url(settings, port),
        keys=settings.api_keys_file is not None,
        policy=settings.policy_file is not None,
        device=info.device,
        dtype=info.dtype,
        quantization=info.quantization,
        kernels=info.kernels,
        reasons=info.reasons,
        parameters=info.parameters,
        weights_bytes=info.memory_bytes,
        kv_cache_tokens=info.num_blocks * info.block_size,
        max_model_len=info.max_model_len,
    )


def _url(settings: Settings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


def show_banner(settings: Settings, info: Ready, port: int) -> None:
    """Print what is served and where."""
    url = _url(settings, port)
    capacity = info.num_blocks * info.block_size
    lines = {
        "model": f"{settings.served_name} ({info.parameters / 1e6:.1f} M parameters)",
        "device": f"{info.device}, {info.dtype}, quantization {info.quantization}, {info.kernels} kernels",
        **({"why": "; ".join(info.reasons)} if info.reasons else {}),
        "memory": f"{info.memory_bytes / 2**20:,.0f} MiB of weights",
        "KV cache": f"{capacity:,} tokens, at most {info.max_model_len:,} a sequence",
        "API": f"{url}/v1/chat/completions",
        # With keys a browser is refused there, for it sends none.
        **({} if settings.api_keys_file else {"docs": f"{url}/docs"}),
        "metrics": f"{url}/metrics",
        "keys": "required" if settings.api_keys_file else "none: anyone who reaches this address may use it",
        **({"policy": str(settings.policy_file)} if settings.policy_file else {}),
    }
    print("\nRepartee is ready\n", file=sys.stderr)
    for name, value in lines.items():
        print(f"  {name:<10}{value}", file=sys.stderr)
    print("\nCtrl-C ends it; open streams are finished first.\n", file=sys.stderr, flush=True)
