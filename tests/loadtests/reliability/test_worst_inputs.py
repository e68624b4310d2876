"""The catalogue of the worst inputs: of a legal size, for every route with a body, and what it says it is."""

import json

from fastapi.routing import APIRoute

from app.api.routes import chat, completions, decisions, tokenize
from loadtests.reliability.worst_inputs import SIZE, catalogue

INPUTS = list(catalogue("the-model"))


def test_every_route_that_takes_a_body_is_asked() -> None:
    modules = (chat, completions, decisions, tokenize)
    routes = [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]
    assert {one.path for one in INPUTS} == {route.path for route in routes if "POST" in (route.methods or ())}


def test_all_are_of_a_legal_size_and_most_of_the_largest() -> None:
    assert max(len(one.body) for one in INPUTS) == SIZE
    assert sum(len(one.body) > 0.9 * SIZE for one in INPUTS) > 300


def test_what_is_no_garbage_is_json_for_the_model() -> None:
    for one in INPUTS[::7]:
        if not one.name.startswith("garbage"):
            assert json.loads(one.body)["model"] == "the-model"
