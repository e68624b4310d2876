"""Bad inputs to a real service, many and seeded, with good traffic beside them: `python -m loadtests.fuzz`."""
