"""The service on Ray Serve: N replicas on M machines behind one address (docs/scaling.md)."""
