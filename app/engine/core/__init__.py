"""The synchronous engine: scheduling, KV cache, model, sampling. No asyncio, sockets, HTTP or Prometheus."""
