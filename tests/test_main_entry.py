"""`python -m app`: which command is run, the help, and the exit codes."""

import subprocess
import sys

import pytest

from app import __main__ as entry
from app import doctor, keys, serve, show_config
from app.bench import command as bench

WRONG = 2


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_it_serves_by_default(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(serve, "main", lambda: 7)
    assert entry.main(arguments) == 7


@pytest.mark.parametrize(
    ("command", "module", "function"),
    [
        ("keys", keys, "main"),
        ("config", show_config, "main"),
        ("doctor", doctor, "main"),
        ("bench", bench, "run"),
    ],
)
def test_a_command_gets_its_options_and_gives_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, command: str, module: object, function: str
) -> None:
    given: list[list[str]] = []

    def main(options: list[str]) -> int:
        given.append(options)
        return 5

    monkeypatch.setattr(module, function, main)
    assert entry.main([command, "--option", "value"]) == 5
    assert given == [["--option", "value"]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sevre"], "unknown command 'sevre'"),
        (["--port", "1"], "unknown command '--port'"),
        ([""], "unknown command ''"),
        (["serve", "--port", "1"], "serve takes no options, and got '--port'"),
    ],
)
def test_a_wrong_word_is_named_before_the_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert entry.main(arguments) == WRONG
    printed = capsys.readouterr()
    assert printed.err.startswith(complaint) and "\n\nusage: " in printed.err and printed.out == ""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["serve", "--help"], ["serve", "-h"]])
def test_help_shows_commands_examples_and_exit_codes(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert entry.main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    wanted = (
        "serve",
        "keys new",
        "config --json",
        "doctor",
        "bench --rate",
        "exit codes",
        "REPARTEE_",
        "README.md",
    )
    assert all(word in printed.out for word in wanted)


def test_a_command_loads_nothing_of_the_others() -> None:
    script = (
        "import sys; from app.__main__ import main; main(['config']);"
        "unwanted = ('fastapi', 'uvicorn', 'app.doctor', 'app.keys', 'app.bench');"
        "others = [name for name in unwanted if name in sys.modules];"
        "print(*others, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == ""


def test_a_reader_that_has_seen_enough_gets_no_stack_trace() -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "app", "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    with run:
        assert run.stderr.read() == b""


def test_without_its_environment_one_line_says_so() -> None:
    """`-S` leaves the site-packages out, as the system's own interpreter does."""
    run = subprocess.run([sys.executable, "-S", "-m", "app", "doctor"], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (WRONG, "", 1)
    assert "No module named" in run.stderr and ".venv/bin/python" in run.stderr
