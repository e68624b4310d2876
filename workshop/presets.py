"""The model shapes: Llama, so that every engine can load them."""

from dataclasses import dataclass

from transformers import LlamaConfig

from workshop.tokenizer import PAD, TURN_END


@dataclass(frozen=True)
class Preset:
    """A shape and the peak learning rates that suit it."""

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int
    matrix_rate: float
    vector_rate: float


PRESETS = {
    "small": Preset(256, 6, 4, 704, 4096, 0.012, 3e-3),
    "base": Preset(384, 6, 6, 1024, 5120, 0.01, 2e-3),
    "tiny": Preset(64, 2, 2, 128, 512, 0.02, 3e-3),
}


def model_config(preset: Preset) -> LlamaConfig:
    """The transformers configuration of a preset."""
    return LlamaConfig(
        vocab_size=preset.vocabulary,
        hidden_size=preset.width,
        intermediate_size=preset.hidden,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=2,
        head_dim=64 if preset.width >= 256 else 32,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=TURN_END,
        pad_token_id=PAD,
        attention_bias=False,
        mlp_bias=False,
        initializer_range=0.02,
    )
