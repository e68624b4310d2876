"""The service, both processes, where nothing may be unpickled: `python -m tests.service.no_pickle`.

An attempt is written to standard error, in case that the caller swallows it, and refused. With an argument it is the
engine process. The variable `PLANTED` lets that unpickle something as it starts.
"""

import os
import pickle
import sys
from typing import Any, NoReturn

MARK = "an attempt to unpickle"


def refuse() -> None:
    """From now on, for the whole life of the process: an audit hook cannot be taken away."""

    def refused(what: object) -> NoReturn:
        os.write(2, f"{MARK}: {what}\n".encode())
        raise PermissionError(MARK)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            refused(arguments)

    sys.addaudithook(hook)


def refuse_torch() -> None:
    """PyTorch's reader of weights brings an unpickler of its own, which no audit event tells of."""
    import torch

    def refused(*arguments: object, **options: object) -> NoReturn:
        os.write(2, f"{MARK}: torch.load\n".encode())
        raise PermissionError(MARK)

    torch.load = torch.serialization._load = refused  # type: ignore[assignment]


def engine() -> int:
    """The engine process."""
    from app.engine.__main__ import main
    from app.engine.log_lines import write_records

    write_records()
    refuse_torch()
    if os.environ.get("PLANTED") == "pickle":
        pickle.loads(b"cbuiltins\nlist\n.")
    if os.environ.get("PLANTED") == "torch":
        import torch

        torch.load("weights.bin", weights_only=True)
    return main()


def service() -> int:
    """The API process, whose engine process is this module too."""
    from app.__main__ import main
    from loadtests.reliability.other_engine import run_engine_as

    run_engine_as("tests.service.no_pickle")
    return main([])


if __name__ == "__main__":
    refuse()
    sys.exit(engine() if len(sys.argv) > 1 else service())
