"""Load tests: a streaming client, the side-by-side bench, its GPU form, and locust scenarios."""
