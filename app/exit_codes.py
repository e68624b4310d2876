"""What the exit codes of `python -m app` mean."""

OK = 0
FAILED = 1
"""`doctor` found something that keeps the service from working, or nobody reads what a command prints."""
CONFIGURATION = 2
"""A wrong command, setting or file; one line says which."""
ENGINE = 3
"""The engine cannot start; the log says why."""
