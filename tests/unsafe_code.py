"""Finds what runs data as code: unpickling, eval and its kin, shells, and models' own code. Reads source, runs none."""

import ast
from collections.abc import Iterator

_MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code"}
)
_BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
_CALLS = frozenset(
    {
        *("torch.load", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"),
        *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
        *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
        *("asyncio.create_subprocess_shell", "pandas.read_pickle", "builtins.eval", "builtins.exec"),
        *("importlib.import_module", "runpy.run_path", "runpy.run_module"),
    }
)
_MUST_BE_FALSE = frozenset({"shell", "trust_remote_code", "allow_pickle"})
_MUST_BE_TRUE = frozenset({"weights_only", "use_safetensors"})
_NEEDED = {"from_pretrained": "trust_remote_code", "from_config": "trust_remote_code"}
"""What calls of `Auto...` classes must name."""


def findings(source: str) -> list[str]:
    """`line: what` for each finding in a module's source."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    return [f"{node.lineno}: {what}" for node in ast.walk(tree) for what in _of(node, names)]  # type: ignore[attr-defined]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, with its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.split(".")[0],
                    alias.name if alias.asname else alias.name.split(".")[0],
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _of(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in _MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _MODULES:
        yield f"from {node.module}"
    elif isinstance(node, ast.Name) and node.id in _BUILTINS and node.id not in names:
        yield node.id
    elif isinstance(node, ast.Attribute | ast.Name) and (name := _full_name(node, names)) in _CALLS:
        yield name
    elif isinstance(node, ast.Call):
        yield from _options(node, names)


def _options(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    for option, value in given.items():
        constant = value.value if isinstance(value, ast.Constant) else None
        if option in _MUST_BE_FALSE and constant is not False:
            yield f"{option} is not False"
        if option in _MUST_BE_TRUE and constant is not True:
            yield f"{option} is not True"
    holder, _, method = _full_name(call.func, names).rpartition(".")
    if holder.rpartition(".")[2].startswith("Auto") and method in _NEEDED and _NEEDED[method] not in given:
        yield f"{method} without {_NEEDED[method]}"


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""
