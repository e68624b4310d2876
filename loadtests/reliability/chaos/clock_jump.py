"""The wall clock of a service under test, which jumps while every other clock goes on."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class ClockJump:
    """A library to preload, and the file that tells it how far the clock is off.

    Args:
        directory: for both.

    Raises:
        FileNotFoundError: there is no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """

    def __init__(self, directory: Path) -> None:
        compiler = os.environ.get("CC") or shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        library, offset = directory / "clock_jump.so", directory / "clock_jump"
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"],
            check=True,
            capture_output=True,
        )
        offset.write_bytes(bytes(8))
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_JUMP_FILE": str(offset)}

    def jump(self, seconds: int) -> None:
        """Set how far the clock is off from now on."""
        self._offset[:8] = struct.pack("=q", seconds)
