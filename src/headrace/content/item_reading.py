"""What an item says, as the network reads it: one text and some numbers, the same in training, evaluation and service.

Shapes: V items (row 0 is padding), n items, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from headrace.core.types import Item, Scalar
from headrace.data.features import normalised
from headrace.data.item_cleaning import clean_text, tidy_categories
from headrace.data.log import Floats

SAYING_FIELDS = ("title", "text", "categories", "price", "attributes")
"""The fields of `Item` that its vectors are made of."""


def item_text(item: Item) -> str:
    """Return the text that the encoder reads, empty if there is none.

    Markup and spaces are cleaned as `prepare` does, so that an item which comes from a file, out of a store or by a PUT
    has one text.
    """
    title, text = (clean_text(part) if part else None for part in (item.title, item.text))
    tidy = tuple(tidy_categories(item.categories))
    return Item(item_id=item.item_id, title=title, text=text, categories=tidy).content_text()


def item_texts(items: pl.DataFrame) -> list[str]:
    """Return `item_text` of items as `items.parquet` holds them."""
    return [item_text(item) for item in items_of(items)]


def item_features(items: Sequence[Item], statistics: Mapping[str, tuple[float, float]]) -> Floats:
    """Return (n, F) the numeric features of `statistics`, see `data.features.normalised`."""
    rows = [normalised(item.price, item.attributes, statistics) for item in items]
    return np.array(rows, np.float32).reshape(len(items), len(statistics))


def items_of(frame: pl.DataFrame) -> list[Item]:
    """Return what items say out of a frame of `items.parquet`'s columns; a column that is not there is empty.

    Only `item_id` and `SAYING_FIELDS` are read.
    """
    ids = frame["item_id"].to_list()
    columns = [frame[name].to_list() if name in frame.columns else [None] * len(ids) for name in SAYING_FIELDS]
    attributes = msgspec.json.Decoder(dict[str, Scalar])
    return [
        Item(
            item_id=item_id,
            title=title,
            text=text,
            categories=tuple(categories or ()),
            price=price,
            attributes=attributes.decode(others) if others else {},
        )
        for item_id, title, text, categories, price, others in zip(ids, *columns, strict=True)
    ]
