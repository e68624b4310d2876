"""What docs/reliability.md promises, each a command that shows it against a real service."""
