"""A model with retention from a dataset to the service: trained, written, checked, and asked after each event."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, ModelInfo, read_document
from headrace.core.settings import ContentSettings, ServingSettings, Settings, TrainingSettings
from headrace.core.types import Event
from headrace.data.log import History
from headrace.data.synthetic import ring
from headrace.pipeline.fitting import train
from headrace.pipeline.preparation import prepare
from headrace.ranking.network import Network
from headrace.serving.questions import Question
from headrace.serving.service import Service

ITEMS = 12
HOUR = 3_600_000_000


def test_a_ring_is_learned_with_retention_and_served_event_by_event(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    events, items = ring(ITEMS, 60, 15)
    dataset = prepare(events, items=items, out=tmp_path / "data")
    settings = Settings(
        training=TrainingSettings(preset="tiny", steps=150, batch_events=512, mixer="retention"),
        content=ContentSettings(text_model="none"),
        serving=ServingSettings(store=f"sqlite:///{tmp_path / 'shop.db'}"),
    )
    info = train(dataset, out=tmp_path / "model", settings=settings, protocol="all")
    assert info.shape.mixer == "retention"
    assert read_document(tmp_path / "model" / MODEL_FILE, ModelInfo, MODEL_FORMAT, "").shape == info.shape
    network = Network.load(tmp_path / "model")
    vectors, ids = network.own_vectors, network.vocabulary.ids
    for item in range(1, ITEMS + 1):
        path = (np.arange(item - 5, item) % ITEMS + 1).astype(np.int32)
        history = History(path, np.zeros(5, np.int32), np.full(5, np.nan, np.float32), 10**15 + np.arange(5) * HOUR)
        user = network.users([history], [None], vectors)[0]
        following = ids[vectors.outputs.scores(user[None])[0, 1:].argmax()]
        assert following == next_of(ids[path[-1] - 1])
    service = Service.open(settings, model=tmp_path / "model", history=tmp_path / "data")
    try:
        place = "item3"
        for _ in range(20):
            service.add_events([Event(user_id="new", item_id=place)]).result()
            answer = service.recommend(Question(user_id="new", k=1, seen="include")).result()
            assert answer.model == info.version
            assert answer.items[0].item_id == next_of(place)
            place = next_of(place)
    finally:
        service.close()


def next_of(item: str) -> str:
    return f"item{(int(item.removeprefix('item')) + 1) % ITEMS}"
