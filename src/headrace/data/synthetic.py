"""Synthetic datasets whose answer is known before any training: for tests, guides and first tries.

Each returns the events (`user_id, item_id, type, value, time`, microseconds) and the items (`item_id, title,
categories, price`) as Polars frames, the same for the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.data.log import Floats, Longs

START_US = 1_748_736_000_000_000
"""2025-06-01T00:00:00Z, when all synthetic datasets begin."""

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US

_SHOP: dict[str, tuple[float, tuple[str, ...], tuple[str, ...]]] = {
    "Tea": (6, ("green", "black", "white", "herbal", "smoked"), ("tea leaves", "tea bags", "tea tin", "tea sampler")),
    "Coffee": (11, ("dark", "light", "organic", "breakfast", "decaf"), ("coffee beans", "ground coffee", "espresso")),
    "Cups": (14, ("blue", "stoneware", "glass", "double wall", "enamel"), ("cup", "mug", "cup and saucer", "tumbler")),
    "Teapots": (35, ("cast iron", "porcelain", "glass", "small", "large"), ("teapot", "tea infuser", "teapot warmer")),
    "Baking": (9, ("round", "long", "silicone", "steel", "mini"), ("cake pan", "baking sheet", "whisk", "rolling pin")),
    "Flour": (4, ("wheat", "rye", "spelt", "whole grain", "corn"), ("flour", "bread flour", "baking mix")),
    "Knives": (48, ("chef's", "paring", "serrated", "folding", "santoku"), ("knife", "knife set", "knife block")),
    "Spices": (5, ("smoked", "hot", "mild", "whole", "ground"), ("paprika", "pepper", "cumin", "cinnamon", "curry")),
    "Running": (85, ("light", "trail", "road", "winter", "reflective"), ("running shoes", "running vest", "cap")),
    "Cycling": (60, ("road", "city", "mountain", "folding", "carbon"), ("bicycle light", "bicycle lock", "bell")),
    "Camping": (75, ("two person", "ultralight", "warm", "compact", "family"), ("tent", "sleeping bag", "camp stove")),
    "Yoga": (25, ("cork", "soft", "thick", "travel", "long"), ("yoga mat", "yoga block", "yoga strap", "bolster")),
    "Novels": (12, ("historical", "crime", "short", "classic", "love"), ("novel", "paperback novel", "novel in a box")),
    "Children's books": (10, ("bedtime", "pop-up", "animal", "counting"), ("picture book", "story book")),
    "Puzzles": (18, ("wooden", "500 piece", "1000 piece", "city map"), ("puzzle", "puzzle mat", "brain teaser")),
    "Toys": (20, ("soft", "wooden", "musical", "floating"), ("bear", "train set", "building blocks", "toy boat")),
    "Plants": (16, ("trailing", "tall", "flowering", "easy"), ("fern", "potted palm", "succulent", "herb pot")),
    "Garden tools": (28, ("steel", "long", "folding", "light"), ("spade", "garden shears", "watering can", "rake")),
    "Lamps": (45, ("reading", "standing", "bedside", "paper"), ("lamp", "lamp shade", "dimmable lamp")),
    "Cushions": (22, ("linen", "velvet", "striped", "round"), ("cushion", "cushion cover", "seat cushion")),
}  # fmt: skip
_TRIBES = 8
_CHAIN, _OWN = 0.4, 0.45
_PURCHASE = 0.12


def ring(n_items: int = 50, n_users: int = 200, length: int = 20, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return users who walk around a ring: after item i always comes i + 1, an hour later; recall@1 is 1.0.

    Users begin anywhere on the ring and at any minute of the first 30 days.
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n_users)
    items = (first[:, None] + np.arange(length)) % n_items
    begins = START_US + rng.integers(0, 30 * 24 * 60, n_users) * _MINUTE_US
    times = begins[:, None] + np.arange(length) * _HOUR_US
    titles = [f"ring item {number}" for number in range(n_items)]
    return _events(items, times), _items(titles, ["ring"] * n_items)


def tribes(n_items: int = 80, n_users: int = 200, length: int = 12, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return two tribes that never meet each other's items; an item's words say whose it is.

    Even users and items are of the *sea*, odd ones of the *mountain*. The last tenth of the items has no event, so that
    only content can place it.
    """
    rng = np.random.default_rng(seed)
    known = n_items - n_items // 10
    choices = rng.integers(0, (known - 1) // 2, (n_users, length)) * 2
    items = choices + (np.arange(n_users) % 2)[:, None]
    words = (("sea", "boat sail harbour"), ("mountain", "rope boots summit"))
    titles = [f"{words[number % 2][0]} {words[number % 2][1]} {number}" for number in range(n_items)]
    return _events(items, _spread(rng, n_users, length)), _items(titles, [words[n % 2][0] for n in range(n_items)])


def fashion(n_items: int = 40, n_users: int = 400, length: int = 6, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return one day on which fashion turns at noon: before, users meet the first half of the items, then the second.

    Within a half all items are equally popular, so popularity of the last hour is right and of all time is wrong.
    """
    rng = np.random.default_rng(seed)
    times = np.sort(START_US + rng.integers(0, _DAY_US, (n_users, length)), axis=1)
    half = n_items // 2
    items = rng.integers(0, half, (n_users, length)) + np.where(times >= START_US + _DAY_US // 2, half, 0)
    titles = [f"{'evening' if number >= half else 'morning'} item {number}" for number in range(n_items)]
    return _events(items, times), _items(titles, ["evening" if n >= half else "morning" for n in range(n_items)])


def twins(n_items: int = 40, n_users: int = 200, length: int = 15, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a ring each of whose items has a twin with the same title, a new id (`twin0` …) and no event."""
    events, items = ring(n_items, n_users, length, seed)
    titles = [f"{_word(number)} {_word(number * 7 + 3)} number {number}" for number in range(n_items)]
    items = items.with_columns(title=pl.Series(titles))
    doubles = items.with_columns(pl.col("item_id").str.replace("item", "twin"))
    return events, pl.concat([items, doubles])


def shop(n_users: int = 5_000, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a shop over 90 days: views and purchases of some 300 items in 20 categories.

    Users belong to one of eight tribes, each fond of three categories; a view leads to the item's companion with
    probability 0.4, to one of the tribe's categories with 0.45, else anywhere by popularity; one view in eight or so
    is followed by a purchase. So a model that reads histories beats popularity.
    """
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng)
    lengths = 3 + rng.geometric(1 / 14, n_users).clip(max=120)
    steps = int(lengths.max())
    items = _walk(rng, catalogue, n_users, steps)
    times = _visits(rng, n_users, steps)
    held = np.arange(steps) < lengths[:, None]
    bought = held & (rng.random(items.shape) < _PURCHASE)
    views = _events(items, times, held, kind="view")
    purchases = _events(items, times + rng.integers(30, 300, items.shape) * 1_000_000, bought, kind="purchase")
    events = pl.concat([views, purchases]).sort("time", "user_id", "item_id")
    return events.filter(pl.col("time") < START_US + 90 * _DAY_US), catalogue.items


@dataclass(frozen=True)
class _Catalogue:
    """The items of the shop with their category, their weight (Zipf) and the item each leads to."""

    items: pl.DataFrame
    categories: Longs
    weights: Floats
    companions: Longs


def _catalogue(rng: np.random.Generator) -> _Catalogue:
    titles, categories, prices, numbers = [], [], [], []
    for place, (category, (price, kinds, things)) in enumerate(_SHOP.items()):
        for kind in kinds:
            for thing in things:
                titles.append(f"{kind} {thing}".capitalize())
                categories.append(category)
                prices.append(round(price * float(rng.lognormal(0, 0.35)), 2))
                numbers.append(place)
    n = len(titles)
    weights = np.empty(n, dtype=np.float32)
    weights[rng.permutation(n)] = 1 / np.arange(1, n + 1, dtype=np.float32) ** 0.8
    companions = rng.permutation(n).astype(np.int64)
    return _Catalogue(_items(titles, categories, prices), np.array(numbers, dtype=np.int64), weights, companions)


def _walk(rng: np.random.Generator, catalogue: _Catalogue, n_users: int, steps: int) -> Longs:
    fond = np.stack([rng.permutation(len(_SHOP))[:3] for _ in range(_TRIBES)])
    tribe = rng.integers(0, _TRIBES, n_users)
    odds = np.stack([np.where(np.isin(catalogue.categories, likes), catalogue.weights, 0) for likes in fond])
    # The tribes' cumulated odds one after the other, each raised by its number, so that one search serves all users.
    own = ((odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1) + np.arange(_TRIBES)[:, None]).ravel()
    anywhere = (catalogue.weights / catalogue.weights.sum()).cumsum()
    last = len(anywhere) - 1
    start = tribe * len(anywhere)
    items = np.empty((n_users, steps), dtype=np.int64)
    for step in range(steps):
        luck, draw = rng.random(n_users), rng.random(n_users)
        by_tribe = (np.searchsorted(own, tribe + draw) - start).clip(0, last)
        chosen = np.where(luck < _CHAIN + _OWN, by_tribe, np.searchsorted(anywhere, draw).clip(max=last))
        follows = (luck < _CHAIN) & (step > 0)
        items[:, step] = np.where(follows, catalogue.companions[items[:, step - 1]] if step else 0, chosen)
    return items


def _visits(rng: np.random.Generator, n_users: int, steps: int) -> Longs:
    """Return (U, S) ascending times: a minute or so within a visit, days between visits, mostly in the evening."""
    begins = rng.integers(0, 70, n_users)
    fresh = rng.random((n_users, steps)) < 0.25
    days = begins[:, None] + np.cumsum(np.where(fresh, rng.geometric(0.2, fresh.shape), 0), axis=1)
    hour = np.clip(rng.normal(19, 3, (n_users, steps)), 0, 22)
    visit = np.maximum.accumulate(np.where(fresh, np.arange(steps), 0), axis=1)
    begin = np.take_along_axis(hour, visit, axis=1) * _HOUR_US
    seconds = rng.integers(15, 90, (n_users, steps))
    within = np.cumsum(seconds, axis=1)
    within -= np.take_along_axis(within, visit, axis=1)
    return np.asarray(START_US + days * _DAY_US + begin.astype(np.int64) + within * 1_000_000, dtype=np.int64)


def _spread(rng: np.random.Generator, n_users: int, length: int) -> Longs:
    begins = START_US + rng.integers(0, 20 * 24 * 60, n_users) * _MINUTE_US
    return begins[:, None] + np.cumsum(rng.integers(1, 600, (n_users, length)), axis=1) * _MINUTE_US


def _events(
    items: NDArray[np.int64], times: Longs, held: NDArray[np.bool_] | None = None, kind: str = "view"
) -> pl.DataFrame:
    held = np.ones(items.shape, dtype=np.bool_) if held is None else held
    users = np.broadcast_to(np.arange(len(items))[:, None], items.shape)[held]
    frame = pl.DataFrame({"user": users, "item": items[held], "time": times[held]})
    return frame.select(
        user_id=pl.format("user{}", "user"),
        item_id=pl.format("item{}", "item"),
        type=pl.lit(kind),
        value=pl.lit(None, dtype=pl.Float64),
        time=pl.col("time").cast(pl.Int64),
    ).sort("time", maintain_order=True)


def _items(titles: list[str], categories: list[str], prices: list[float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": [f"item{number}" for number in range(len(titles))],
            "title": titles,
            "categories": [[category] for category in categories],
            "price": pl.Series(prices if prices is not None else [None] * len(titles), dtype=pl.Float64),
        }
    )


def _word(number: int) -> str:
    """Return a word that can be spoken and that no other small number has."""
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    word = ""
    for _ in range(3):
        number, consonant = divmod(number, len(consonants))
        number, vowel = divmod(number + consonant * 31, len(vowels))
        word += consonants[consonant] + vowels[vowel]
    return word
