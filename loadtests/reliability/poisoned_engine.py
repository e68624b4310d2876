"""An engine that fails on one token: every forward pass over a prompt that holds it raises.

The variable `POISON_TOKEN` has the token's id; `loadtests.reliability.other_engine` takes this module as its engine.
"""

import os
import sys
from typing import Any

from app.engine import __main__ as engine
from app.engine.core import engine_core
from app.engine.core.batch import Batch
from app.engine.core.model_runner import make_runner
from app.engine.log_lines import write_records

_POISON = int(os.environ["POISON_TOKEN"])


def poison(make: Any) -> Any:
    """What makes runners, with a fault in each of them."""

    def make_poisoned(*arguments: Any) -> Any:
        runner = make(*arguments)
        run = runner.run

        def run_unless_poisoned(batch: Batch) -> Any:
            if _POISON in batch.tokens:
                raise RuntimeError("a fault was planted here")
            return run(batch)

        runner.run = run_unless_poisoned
        return runner

    return make_poisoned


if __name__ == "__main__":
    write_records()
    engine_core.make_runner = poison(make_runner)  # type: ignore[attr-defined]
    sys.exit(engine.main())
