"""Use cases over text and token ids: no web framework, no torch."""
