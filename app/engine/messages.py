"""Everything that crosses between the API process and the engine process, and nothing else.

API to engine: `Configure` once, then `AddRequest` and `Abort`; end-of-file means stop.
Engine to API: `Progress` while loading, `Ready` once (or `Failed`), then one `StepOutputs` a step.
Durations are seconds on the sender's own monotonic clock; instants never cross.
"""

from enum import StrEnum

import msgspec

from app.engine.config import EngineConfig


class FinishReason(StrEnum):
    """Why a sequence ended; each accepted request gets exactly one."""

    STOP = "stop"
    """An end-of-sequence or stop token, or (decisions) all label scores computed."""
    LENGTH = "length"
    """`max_tokens` or the context was reached."""
    DEADLINE = "deadline"
    """The deadline passed after the first token."""
    ABORTED = "aborted"
    EXPIRED = "expired"
    """The deadline passed before the first token."""
    FAILED = "failed"


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to choose the next token of one sequence; the defaults are greedy.

    Attributes:
        max_tokens: most tokens to generate.
        min_tokens: end and stop tokens are barred until so many were generated.
        temperature: 0 is greedy.
        top_k: 0 is off.
        seed: equal seeds with equal prompts and parameters give equal tokens.
        logprobs: number of alternatives to report with each token (0: the token alone); None reports nothing.
        logit_bias: token id to addend, applied first.
        stop_token_ids: end the sequence beside the model's own end tokens.
        ignore_eos: the model's end tokens do not end the sequence.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logprobs: int | None = None
    logit_bias: dict[int, float] = {}
    stop_token_ids: list[int] = []
    ignore_eos: bool = False


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """First message to a new engine process.

    Attributes:
        answers: token ids of known answers, each with the token that ends it, as 32-bit integers.
    """

    config: EngineConfig
    answers: bytes = b""


class AddRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="add"):
    """One sequence to run: chat when `labels` is empty, a decision otherwise.

    Attributes:
        id: the server's own number, never reused while the engine lives.
        prompt: token ids, at least one.
        labels: for a decision, the token ids of each label (at least one each, usually with the token that
            ends a turn); the answer is the log-probability of each after the prompt, and nothing is sampled.
        timeout: seconds from now to the request's deadline; None has none.
        due: seconds from now within which its answer should begin; nothing happens if it does not.
        priority: lower runs earlier among those of one tenant; ties go by who is due, or has its deadline, first.
        tenant: who asks; tenants share the engine evenly while they wait for it.
        cache_salt: sequences share KV blocks only under equal salts.
        said: tokens that another process generated already, and that the answer goes on behind.
    """

    id: int
    prompt: list[int]
    sampling: SamplingParams = SamplingParams()
    labels: list[list[int]] = []
    timeout: float | None = None
    due: float | None = None
    priority: int = 0
    tenant: str = ""
    cache_salt: str = ""
    said: list[int] = []


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Forget a request; it still gets one last output with `FinishReason.ABORTED`."""

    id: int


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Log-probability of one emitted token, and of the likeliest alternatives as (token id, log-probability).

    They are those of the model's distribution before temperature, penalties and truncation.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]


class SequenceTimings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Stages of one request inside the engine so far, in seconds; a stage that it has not reached is 0.

    Attributes:
        queue: arrival at the engine to first scheduled.
        prefill: first scheduled to first token (or to the label scores).
        decode: first token to last token.
    """

    queue: float
    prefill: float
    decode: float


class SequenceOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one step made for one request: deltas only.

    Attributes:
        tokens: new token ids (an end or stop token is not among them).
        logprobs: one entry for each of `tokens` when asked for.
        label_scores: a decision's answer, one log-probability a label.
        cached_tokens: prompt tokens that the prefix cache served; with the first token, or with an end before it.
        finish_reason: set on the last output only.
        stop_token: the stop token that ended the sequence, if one did.
        timings: when a stage ended: with the first of several prefill chunks (the queue), with the first token
            (the prefill), and with the last output. A reader that leaves early so knows the stages until then.
    """

    id: int
    tokens: list[int] = []
    logprobs: list[TokenLogprob] = []
    label_scores: list[float] = []
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    stop_token: int | None = None
    timings: SequenceTimings | None = None


class StepStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The engine after one step.

    Attributes:
        seconds: the whole step: schedule, forward, sample, update.
        forward_seconds: packing the batch, the model's forward pass and the sampling.
        phase: `decode` (one token each, or a burst of several), `prefill` (prompt tokens are among them), `classify`
            (decisions only).
        sequences: sequences in the batch.
        tokens: tokens in the batch.
        running, waiting: sequences after the step.
        oldest_wait: seconds that the oldest waiting sequence has waited.
        kv_blocks_used: blocks held by sequences (cached free blocks do not count).
        preemptions: sequences preempted in this step.
        drafted: tokens in the batch that were foretold; `accepted` those of them that became tokens of sequences.
        torch_memory: bytes that torch's allocator gave, holds and has ever given, on a GPU and from time to time.
    """

    seconds: float = 0.0
    forward_seconds: float = 0.0
    phase: str = "decode"
    sequences: int = 0
    tokens: int = 0
    running: int = 0
    waiting: int = 0
    oldest_wait: float = 0.0
    kv_blocks_used: int = 0
    preemptions: int = 0
    drafted: int = 0
    accepted: int = 0
    torch_memory: tuple[int, int, int] | None = None


class StepOutputs(msgspec.Struct, frozen=True, tag="step"):
    """One frame a step: the deltas of all sequences, and the state they leave."""

    outputs: list[SequenceOutput]
    stats: StepStats


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A loading phase (`import`, `kernels`, `load`, `cache`, `warmup`) ended after so many seconds."""

    phase: str
    seconds: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The engine can serve; what was found and chosen at start."""

    model: str
    device: str
    dtype: str
    quantization: str
    cache_dtype: str
    kernels: str
    """Who computes: `native` (whole steps), `native-linear` (products alone), `torch` or `bitsandbytes`."""
    reasons: list[str]
    """Why this weight format and these kernels, for the operator."""
    max_model_len: int
    vocab_size: int
    eos_token_ids: list[int]
    block_size: int
    num_blocks: int
    parameters: int
    memory_bytes: int
    """Bytes of weights on the device."""
    torch: str
    step_seconds: float = 0.0
    """What a step with a full token budget takes, reckoned from the warm-up; 0 without one."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The engine cannot start; `message` is for the operator and says what to change."""

    message: str


ToEngine = Configure | AddRequest | Abort
FromEngine = Progress | Ready | Failed | StepOutputs
