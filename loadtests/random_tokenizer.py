"""A byte-level tokenizer without merges: one token a byte of a prompt, and ASCII text for every id that a model emits.

So a prompt of n ASCII characters has n tokens, and each generated token becomes one event of a stream.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
BOS, _, EOS, PAD = range(len(CONTROL))
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_tokenizer(directory: Path, vocab_size: int) -> None:
    """Write tokenizer and chat template of `vocab_size` (at least 260) entries."""
    _tokenizer(vocab_size).save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": CONTROL[BOS],
        "eos_token": CONTROL[EOS],
        "pad_token": CONTROL[PAD],
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    (directory / "chat_template.jinja").write_text(CHATML)


def _tokenizer(vocab_size: int) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [*CONTROL, *alphabet]
    words = [f"Ġw{number}" for number in range(len(known), vocab_size)]
    tokenizer = Tokenizer(BPE(vocab={text: number for number, text in enumerate(known + words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    return tokenizer
