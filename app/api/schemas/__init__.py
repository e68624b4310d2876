"""Request and response bodies with their bounds."""
