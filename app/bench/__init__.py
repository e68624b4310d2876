"""`python -m app bench` and the client beneath every load test: streams, arrivals, samples, figures, plots."""
