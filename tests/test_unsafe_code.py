"""No line of app/ or deploy/ runs data as code; and planted lines that do are found."""

import pytest

from tests.service.running_service import ROOT
from tests.unsafe_code import findings

SOURCES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")])


def test_nothing_runs_data_as_code() -> None:
    assert len(SOURCES) > 150
    found = {str(path.relative_to(ROOT)): findings(path.read_text("utf-8")) for path in SOURCES}
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import marshal",
        "import os, shelve",
        "eval(text)",
        "f = exec",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=True)",
        "from torch import load\nload(path)",
        "from torch import load as read\nread(path)",
        "import yaml\nyaml.load(text, Loader=loader)",
        "from importlib import import_module\nimport_module(name)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import subprocess\nsubprocess.run(command, shell=flag)",
        "import os\nos.system(command)",
        "import asyncio\nasyncio.create_subprocess_shell(command)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "from transformers import AutoConfig\nAutoConfig.from_pretrained(name)",
        "from transformers import AutoConfig\nAutoConfig.from_pretrained(name, trust_remote_code=True)",
        "import transformers\ntransformers.AutoModel.from_pretrained(name, trust_remote_code=flag)",
        "from transformers import AutoModel\nAutoModel.from_config(config)",
        "model(use_safetensors=False)",
        "def inner():\n    class C:\n        def m(self):\n            return eval(self.x)",
    ],
)
def test_planted_code_is_found(planted: str) -> None:
    assert findings(planted)


@pytest.mark.parametrize(
    "harmless",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "import json\njson.load(file)",
        "import yaml\nyaml.safe_load(text)",
        "import subprocess\nsubprocess.run(['ls'], check=True)",
        "from transformers import AutoConfig\nAutoConfig.from_pretrained(name, trust_remote_code=False)",
        "from transformers import GenerationConfig\nGenerationConfig.from_pretrained(name)",
        "from app.engine.native.library import compile\ncompile(source)",
    ],
)
def test_harmless_code_is_not(harmless: str) -> None:
    assert not findings(harmless)
