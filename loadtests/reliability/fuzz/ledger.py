"""What must be as it was when all is over: nothing open, no block held, no engine started anew."""

from prometheus_client.parser import text_string_to_metric_families

from loadtests.reliability.fuzz.attempt import Attempt, Expected, Piece, Site, head
from loadtests.reliability.fuzz.neighbours import until
from loadtests.reliability.fuzz.wire import exchange, replies

EMPTY = ("repartee_running_requests", "repartee_queue_requests", "repartee_kv_cache_usage_ratio")
RESTARTS = "repartee_engine_restarts_total"
_SETTLE_SECONDS = 15.0


async def metrics(site: Site) -> dict[str, float]:
    """The samples of `/metrics`, those of one name added up; none where it does not answer."""
    data = head(site, "GET", "/metrics", ())
    attempt = Attempt("metrics", 0, "metrics", (Piece(data),), Expected.WHOLE, ("GET",))
    heard = await exchange(site.host, site.port, attempt)
    sums: dict[str, float] = {}
    for reply in replies(heard.data, ("GET",)):
        if reply.status == 200:
            for family in text_string_to_metric_families(reply.body.decode()):
                for sample in family.samples:
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def balance(site: Site) -> list[str]:
    """What is not as it must be at the end."""

    async def empty() -> bool:
        found = await metrics(site)
        return all(found.get(name) == 0 for name in EMPTY)

    faults = []
    if not await until(empty, _SETTLE_SECONDS):
        found = await metrics(site)
        faults += [f"{name} is {found.get(name, 'gone')}" for name in EMPTY if found.get(name) != 0]
    restarts = (await metrics(site)).get(RESTARTS)
    if restarts != 0:
        faults.append(f"{RESTARTS} is {'gone' if restarts is None else f'{restarts:g}'}")
    return faults
