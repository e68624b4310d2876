"""What a model says about sampling, and what is done without it."""

from pathlib import Path

import pytest

from app.services.model_file import InvalidModelFile
from app.services.sampling_defaults import SamplingDefaults, load_sampling_defaults


def test_the_models_own_values_are_read(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(
        '{"temperature": 0.3, "top_k": 20, "eos_token_id": [1, 2], "transformers_version": "5"}'
    )
    assert load_sampling_defaults(str(tmp_path)) == SamplingDefaults(temperature=0.3, top_k=20)


def test_a_model_that_says_nothing_leaves_it_to_the_api(tmp_path: Path) -> None:
    assert load_sampling_defaults(str(tmp_path)) == SamplingDefaults()


@pytest.mark.parametrize("content", ["{", '{"temperature": 3}', '{"top_p": 0}', '{"top_k": "many"}'])
def test_what_cannot_be_used_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(InvalidModelFile, match=r"generation_config\.json"):
        load_sampling_defaults(str(tmp_path))
