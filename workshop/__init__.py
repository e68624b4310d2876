"""The workshop makes the embedded default model: data, tokenizer, training, evaluation and export."""
