"""Routes that answer: recommendations, rankings, ratings and similar items."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter

from headrace.app.http.decoding import Web, decoder_of, read_body
from headrace.app.http.edge import path_id
from headrace.app.http.wire import AskBody, RankBody, Ratings, RatingsBody, check_scenario, question_of, ranking_of
from headrace.core.types import Recommendation, Seen
from headrace.serving.questions import Given, Question
from headrace.serving.service import Service

K = Annotated[int, QueryParameter(description="How many items, from 1 to serving.max_k.", ge=1)]


class Similar(msgspec.Struct, frozen=True):
    """Items like an item, best first."""

    items: list[Recommendation]


@get("/v1/users/{user_id:str}/recommendations", tags=["answers"])
async def recommend_to_user(
    request: Web,
    user_id: FromPath[str],
    k: K = 10,
    exclude: Annotated[list[str] | None, QueryParameter(description="Ids that must not be listed; repeat it.")] = None,
    event_type: Annotated[str | None, QueryParameter(description="Rank by the chance of this type of event.")] = None,
    seen: Annotated[
        Seen | None, QueryParameter(description="Whether met items may be listed; else the learned habit.")
    ] = None,
    category: Annotated[str | None, QueryParameter(description="List only items of this category.")] = None,
    scenario: Annotated[str | None, QueryParameter(description="The name of a configured scenario.")] = None,
    at_least: Annotated[int, QueryParameter(description="Wait, bounded, until this event is counted in.")] = 0,
) -> Given:
    """List what the user is likely to want next, best first."""
    service: Service = request.app.state["service"]
    check_scenario(scenario)
    question = Question(
        user_id=path_id(user_id),
        k=k,
        exclude=exclude or (),
        event_type=event_type,
        seen=seen,
        category=category,
        at_least=at_least,
    )
    return await asyncio.wrap_future(service.recommend(question))


@post("/v1/recommendations", status_code=200, opt={"body": AskBody}, tags=["answers"])
async def recommend_to_any(request: Web) -> Given:
    """List what a user, or someone with the history given, is likely to want next."""
    service: Service = request.app.state["service"]
    body = await read_body(request, decoder_of(AskBody))
    return await asyncio.wrap_future(service.recommend(question_of(body)))


@post("/v1/rank", status_code=200, opt={"body": RankBody}, tags=["answers"])
async def rank(request: Web) -> Given:
    """Rank the given items for a user or a history; unknown and unavailable items are left out."""
    service: Service = request.app.state["service"]
    body = await read_body(request, decoder_of(RankBody))
    return await asyncio.wrap_future(service.recommend(ranking_of(body)))


@post("/v1/ratings", status_code=200, opt={"body": RatingsBody}, tags=["answers"])
async def rate(request: Web) -> Ratings:
    """Predict the ratings that a user would give, on the dataset's scale."""
    service: Service = request.app.state["service"]
    body = await read_body(request, decoder_of(RatingsBody))
    found = service.ratings(str(body.user_id), [str(item) for item in body.item_ids])
    return Ratings(await asyncio.wrap_future(found))


@get("/v1/items/{item_id:str}/similar", tags=["answers"])
async def similar_items(request: Web, item_id: FromPath[str], k: K = 10) -> Similar:
    """List items like an item, best first."""
    service: Service = request.app.state["service"]
    return Similar(await asyncio.wrap_future(service.similar(path_id(item_id), k)))


ANSWER_ROUTES = (recommend_to_user, recommend_to_any, rank, rate, similar_items)
