"""The engine process, and the client that the API process holds."""
