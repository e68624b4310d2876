"""Bad inputs to a real service, with good traffic beside them: `python -m loadtests.reliability.fuzz`."""
