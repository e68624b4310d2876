"""HTTP: bodies, routes and the edge; nothing of the model."""
