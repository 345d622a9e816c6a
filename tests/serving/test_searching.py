"""The search: what is named by the words comes first, and among equals what is popular."""

from __future__ import annotations

import pytest

from headrace.core.errors import DataError
from headrace.core.types import Event, Item
from headrace.serving.service import Service


def found(service: Service, query: str, limit: int = 10) -> list[str]:
    return [item.item_id for item in service.search(query, limit)]


@pytest.fixture
def shop(service: Service) -> Service:
    titles = {
        "shake": "Milkshake",
        "soap": "Almondmilk soap",
        "dog": "Biscuits",
        "bone": "Milk-bone",
        "fluid": "Fluid MILK, white",
        "cheese": "Käse",
    }
    texts = {"dog": "Made with milk"}
    service.put_items([Item(item_id=one, title=title, text=texts.get(one)) for one, title in titles.items()])
    service.add_events([Event(user_id=str(n), item_id=item) for n in range(5) for item in ("fluid", "soap")]).result()
    service.add_events([Event(user_id="ann", item_id="shake")] * 9).result()
    return service


def test_a_whole_word_of_the_title_comes_before_a_beginning_and_that_before_the_rest(shop: Service) -> None:
    assert found(shop, "milk") == ["fluid", "bone", "shake", "soap", "dog"]
    assert found(shop, "mil") == ["shake", "fluid", "bone", "soap", "dog"]
    assert found(shop, "white milk") == ["fluid"]
    assert found(shop, "milk", 2) == ["fluid", "bone"]


def test_without_words_the_popular_come_first(shop: Service) -> None:
    assert found(shop, "", 3) == ["shake", "soap", "fluid"]


def test_an_item_that_the_engine_has_not_heard_of_yet_is_found(shop: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shop.engine, "committed", lambda _: None)
        shop.put_items([Item(item_id="late", title="Milk")])
        assert found(shop, "milk", 3) == ["fluid", "bone", "late"]


def test_letters_beyond_ascii_are_found_in_either_case(shop: Service) -> None:
    for query in ("käse", "KÄSE", "Käse"):
        assert found(shop, query) == ["cheese"]


@pytest.mark.parametrize("query", ["*", "?", "[", "]", "%", "_", "\\", "'", '"', "[^a]", "a" * 1000])
def test_signs_of_patterns_are_only_letters(shop: Service, query: str) -> None:
    assert found(shop, query) == []
    shop.put_items([Item(item_id="odd", title=f"x {query} y")])
    assert found(shop, query) == ["odd"]


def test_a_query_that_is_too_long_is_refused(shop: Service) -> None:
    with pytest.raises(DataError, match="query must have at most 1000"):
        shop.search("a" * 1001, 1)
