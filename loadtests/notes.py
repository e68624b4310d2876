"""What a report says of its run: how it was made, and each peer's version and command."""

import shlex

from app.bench.markdown import table
from loadtests.machine import package_version
from loadtests.peer_subjects import LONG_CONTEXT, llama_bench_options, llama_server_options
from loadtests.peers import CTRANSLATE2, OPENVINO, versions
from loadtests.plan import Plan
from loadtests.subjects import KV_CACHE_TOKENS


def notes(plan: Plan, shape: str) -> list[str]:
    """Paragraphs on how the figures came about."""
    threads = (
        f"{plan.threads} thread(s) each" if plan.threads else "as many threads as each chooses by itself"
    )
    return [
        f"Random weights of the {shape} shape in bf16, or fewer bits made of them; prompts of "
        f"{plan.prompt_tokens} tokens, {plan.new_tokens} new ones, greedy; rounds: {plan.rounds}; one process measured "
        f"at a time, {threads}. The embedded model answers chats of a customer instead. `tok/s` counts prefill in, "
        "`decode tok/s` only the time in which all streams decode. A stream is cut after "
        f"{plan.stream_seconds:.0f} s and counted as far as it came.",
        f"This service's KV cache is set to {KV_CACHE_TOKENS:,} tokens, and llama-server's too, split evenly among "
        "its slots; its first tokens are timed with one slot alone. `transformers serve` sizes its cache by the free "
        "memory, which shows in its RSS. Subjects marked `no HTTP` run in a process of their own and get all prompts "
        "at once as token ids, which spares them sockets, JSON and detokenizing. Where llama-server has the embedded "
        "model's weights, both servers are asked for completions of the same kind of chats as token ids; each run is "
        f"repeated {plan.repetitions} times a round. This service drafts nothing here (`REPARTEE_SPECULATION=false`): "
        "the peers do not.",
        f"While {plan.streams} streams decode, prompts of {plan.long_prompt:,} tokens come one after another "
        f"({plan.long_prompts}): `p99 gap` and `median step` are of all gaps in that time, `undisturbed step` is the "
        "median of those before and after.",
        "A decision is one text, new each time, and one choice among 20 labels; both servers get the same body and put "
        "it to the model in their own words. This service's prompt begins with the question, so its prefix cache "
        "serves that part.",
    ]


def peers_table(plan: Plan) -> str:
    """Version and command of each peer."""
    found = versions(plan.peers)
    llama = found["llama.cpp"]
    together = shlex.join(llama_server_options(plan.threads, plan.stream_counts[-1], KV_CACHE_TOKENS))
    alone = shlex.join(llama_server_options(plan.threads, 1, LONG_CONTEXT))
    bench = shlex.join(llama_bench_options(plan.new_tokens, plan.repetitions))
    threads = f"{plan.threads} thread(s)" if plan.threads else "threads as it chooses"
    transformers = package_version("transformers") or "not there"
    serve = "transformers serve MODEL --device cpu"
    rows = [
        ["llama-server", llama, f"`llama-server --model GGUF {together}`"],
        ["llama-server, first tokens", llama, f"`llama-server --model GGUF {alone}`"],
        ["llama-bench", llama, f"`llama-bench -m GGUF {bench} -t N`, the best N up to the cores"],
        [
            "OpenVINO GenAI",
            found[OPENVINO],
            f"`ContinuousBatchingPipeline` on the same GGUF files, {threads}",
        ],
        ["CTranslate2", found[CTRANSLATE2], f"`Generator.generate_batch`, one static batch, int8, {threads}"],
        ["transformers serve", transformers, f"`{serve} --continuous-batching --dtype TYPE`"],
        ["transformers serve, decisions", transformers, f"`{serve}`"],
        ["transformers generate", transformers, "`model.generate`, greedy"],
    ]
    return table(["peer", "version", "command"], rows)
