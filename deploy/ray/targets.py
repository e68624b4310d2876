"""`GET /metrics/replicas`: every replica for Prometheus, which would meet another one at each scrape of the proxy."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from deploy.ray.controller import replica_addresses

PATH = "/metrics/replicas"


def add_targets(app: FastAPI, application: str) -> None:
    """Let a replica tell where all replicas of an application can be scraped, as HTTP service discovery reads it."""

    async def targets() -> JSONResponse:
        return JSONResponse(
            [
                {"targets": [replica.address], "labels": {"replica": replica.id}}
                for replica in await replica_addresses(application)
            ]
        )

    app.add_api_route(PATH, targets, include_in_schema=False)
