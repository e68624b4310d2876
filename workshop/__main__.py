"""The command line: `python -m workshop train|export|evaluate|answers`."""

import argparse

from workshop import evaluate, export, known_answers, train


def main() -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(prog="workshop", description="Makes the embedded default model.")
    commands = parser.add_subparsers(required=True)
    for name, module in (
        ("train", train),
        ("export", export),
        ("evaluate", evaluate),
        ("answers", known_answers),
    ):
        command = commands.add_parser(name, help=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
