"""From an item to its vectors: training, the model folder and the running service compute one function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from headrace.content.item_reading import item_features, item_texts, items_of
from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.text_torch import TorchTextEncoder
from headrace.core.errors import StoppedError
from headrace.core.formats import MODEL_FILE, ModelInfo
from headrace.core.settings import ContentSettings, ServingSettings, Settings, TrainingSettings
from headrace.core.types import Event, Item
from headrace.data.dataset import Dataset
from headrace.data.features import normalise
from headrace.data.log import Floats
from headrace.data.synthetic import ring
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.pipeline.fitting import train
from headrace.pipeline.material import Material
from headrace.pipeline.preparation import prepare
from headrace.ranking.network import Network
from headrace.serving.service import Service
from headrace.training.presets import PRESETS

RING = 12
WORDS = ["green", "tea", "blue", "cup", "iron", "pot", "black", "kettle", "red", "bowl", "old", "tray"]
TOLERANCE = 1e-4


class Shop(NamedTuple):
    """A trained model, what it was trained from, and the settings of both training and service."""

    dataset: Dataset
    model: Path
    settings: Settings


def catalogue(words: Sequence[str]) -> pl.DataFrame:
    """Return a ring's items: most with texts, prices and sizes, the last with nothing, one without events."""
    rows = [
        {
            "item_id": f"item{number}",
            "title": f"{words[number]} {words[(number * 5 + 1) % RING]}",
            "categories": [words[number % 3], "things"],
            "price": 1.5 * number + 0.5 if number % 4 else None,
            "size": float(number % 5),
        }
        for number in range(RING - 1)
    ]
    rows += [{"item_id": f"item{RING - 1}"}, {"item_id": "shelf", "title": "old tray", "price": 3.0}]
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shop")
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *WORDS, "things"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder / "bert"
    )
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes)).save_pretrained(
        folder / "bert"
    )
    events, _ = ring(RING, 30, 8)
    dataset = prepare(events, items=catalogue(WORDS), out=folder / "data")
    settings = Settings(
        content=ContentSettings(text_model=str(folder / "bert"), max_tokens=8, cache=str(folder / "cache")),
        training=TrainingSettings(preset="tiny", steps=40, batch_events=512, id_dropout=0.5),
    )
    train(dataset, out=folder / "model", settings=settings, protocol="all")
    return Shop(dataset, folder / "model", settings)


@pytest.fixture
def settings(shop: Shop, tmp_path: Path) -> Settings:
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", models=str(shop.model.parent))
    return msgspec.structs.replace(shop.settings, serving=serving)


@pytest.fixture
def service(shop: Shop, settings: Settings) -> Iterator[Service]:
    opened = Service.open(settings, model=shop.model, history=shop.dataset.path)
    yield opened
    opened.close()


def by_training(shop: Shop, raw: pl.DataFrame, ids: Sequence[str | None]) -> tuple[Floats, Floats]:
    """Return the vectors of raw items by PyTorch, after `prepare`; an id of None takes the "no id" vector."""
    events = pl.DataFrame({"user_id": ["u"], "item_id": raw["item_id"][:1], "time": [1_600_000_000]})
    cleaned = prepare(events, items=raw).items()
    info = msgspec.json.decode((shop.model / MODEL_FILE).read_bytes(), type=ModelInfo)
    weights = load_file(shop.model / "weights.safetensors")
    model = Transformer(info.shape)
    model.load_state_dict({name[6:]: tensor for name, tensor in weights.items() if name.startswith("model.")})
    encoder = TorchTextEncoder(shop.settings.content.text_model, shop.settings.content.max_tokens)
    text = torch.from_numpy(encoder.encode(item_texts(cleaned)))
    features = torch.from_numpy(normalise(cleaned, info.features))
    places = {item_id: place for place, item_id in enumerate(shop.dataset.item_vocabulary().ids, 1)}
    own = [model.items.no_id if item_id is None else weights["ids"][places[item_id]] for item_id in ids]
    with torch.no_grad():
        says = ItemContent(model.items.reduction(text), text.abs().sum(1) > 0, features)
        inputs, outputs = model.items(torch.stack(own), says)
    return inputs.numpy(), outputs.numpy()


def served(service: Service, ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Return copies of the vectors of items in the running service."""
    assert service.desk.model is not None
    service.engine.run(lambda: None).result()
    vectors, keys = service.desk.model.vectors, [service.store.item_ids.index(item_id) for item_id in ids]
    return vectors.inputs.wide_at(np.array(keys)), vectors.outputs.wide_at(np.array(keys))


def assert_near(found: Sequence[Floats], expected: Sequence[Floats]) -> None:
    """Hold vectors against each other, of which either or both were kept in 8 bits a number."""
    for one, other in zip(found, expected, strict=True):
        largest = np.abs(other).max(axis=1, keepdims=True, initial=0)
        assert (np.abs(one - other) <= largest / 127 + TOLERANCE).all()


def left_by_training(network: Network) -> tuple[Floats, Floats, Floats]:
    """Return what training left of each item of a model."""
    vectors = network.own_vectors
    return vectors.inputs.wide()[1:], vectors.outputs.wide()[1:], vectors.contents.wide()[1:]


NEW = [
    Item(
        item_id="all",
        title="  <b>red</b> kettle&nbsp;",
        text="iron<br>pot",
        categories=("things", "<i>tea</i>", "n/a"),
        price=4.0,
        attributes={"size": 2, "colour": "red"},
    ),
    Item(item_id="numbers", price=7.25, attributes={"size": 4.5}),
    Item(item_id="words", title="blue tea"),
    Item(item_id="kinds", categories=("cup",)),
    Item(item_id="nothing", title="<p></p>", attributes={"size": "large"}),
]


def raw(items: Sequence[Item]) -> pl.DataFrame:
    """Return items as a file would hold them."""
    rows = [
        {
            "item_id": item.item_id,
            "title": item.title,
            "text": item.text,
            "categories": list(item.categories),
            "price": item.price,
            "attributes": msgspec.json.encode(item.attributes).decode(),
        }
        for item in items
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def test_the_model_has_learned_texts_and_numbers(shop: Shop) -> None:
    """The other tests would pass in a model that reads neither."""
    network = Network.load(shop.model)
    assert list(network.info.features) == ["price", "size"]
    zeros = np.zeros((1, 16), np.float32)
    alone, _, _ = network.place(zeros, np.zeros((1, 2), np.float32))
    for number in range(2):
        moved, _, _ = network.place(zeros, np.eye(2, dtype=np.float32)[number : number + 1])
        assert np.abs(moved - alone).max() > 20 * TOLERANCE
    worded, _, _ = network.place(zeros + 0.25)
    assert np.abs(worded - alone).max() > 20 * TOLERANCE


def test_an_item_that_is_put_has_the_vectors_of_training(shop: Shop, service: Service) -> None:
    service.put_items(NEW)
    expected = by_training(shop, raw(NEW), [None] * len(NEW))
    assert_near(served(service, [item.item_id for item in NEW]), expected)


def test_items_that_stood_in_the_store_have_the_vectors_of_training(shop: Shop, settings: Settings) -> None:
    counting = Service.open(settings)
    counting.put_items(NEW)
    counting.add_events([Event(user_id="u", item_id="unheard")]).result()
    counting.swap(shop.model.name)
    expected = by_training(shop, raw([*NEW, Item(item_id="unheard")]), [None] * (len(NEW) + 1))
    assert_near(served(counting, [*(item.item_id for item in NEW), "unheard"]), expected)
    counting.close()


def test_a_changed_item_keeps_its_id_and_its_input(shop: Shop, service: Service) -> None:
    changed = [msgspec.structs.replace(item, item_id=f"item{n}") for n, item in enumerate(NEW)]
    ids = [item.item_id for item in changed]
    before, _ = served(service, ids)
    service.put_items(changed)
    inputs, outputs = served(service, ids)
    assert np.array_equal(inputs, before)
    _, expected = by_training(shop, raw(changed), ids)
    assert_near([outputs], [expected])


def test_a_changed_number_changes_the_output(shop: Shop, service: Service) -> None:
    _, before = served(service, ["item1"])
    service.patch_item("item1", {"price": 900.0})
    _, after = served(service, ["item1"])
    assert np.abs(after - before).max() > 10 * TOLERANCE
    service.patch_item("item1", {"price": 2.0})
    np.testing.assert_allclose(served(service, ["item1"])[1], before, atol=TOLERANCE)


def test_an_item_without_events_keeps_its_input_too(shop: Shop, service: Service) -> None:
    before, _ = served(service, ["shelf"])
    service.put_items([Item(item_id="shelf", title="black bowl", price=3.0)])
    inputs, outputs = served(service, ["shelf"])
    assert np.array_equal(inputs, before)
    _, expected = by_training(shop, raw([Item(item_id="shelf", title="black bowl", price=3.0)]), [None])
    assert_near([outputs], [expected])


def test_after_a_restart_and_a_swap_all_vectors_are_as_before(shop: Shop, settings: Settings) -> None:
    service = Service.open(settings, model=shop.model, history=shop.dataset.path)
    service.put_items([*NEW, Item(item_id="item3", title="red tray", price=1.0), Item(item_id="item4")])
    service.put_items([Item(item_id="words", title="blue tea")])
    service.add_events([Event(user_id="u", item_id="unheard")]).result()
    service.delete_item("item5")
    ids = list(service.store.item_ids)
    before = served(service, ids)
    service.close()
    again = Service.open(settings, model=shop.model)
    assert_near(served(again, ids), before)
    again.swap(shop.model.name)
    assert_near(served(again, ids), before)
    again.close()


def test_a_text_that_was_put_is_not_read_again_after_a_restart(
    shop: Shop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service.open(settings, model=shop.model, history=shop.dataset.path)
    service.put_items([Item(item_id="words", title="blue tea")])
    service.close()
    read: list[str] = []
    encode = OnnxTextEncoder.encode

    def watched(self: OnnxTextEncoder, texts: Sequence[str]) -> Floats:
        read.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(OnnxTextEncoder, "encode", watched)
    again = Service.open(settings, model=shop.model)
    assert read
    assert "blue tea" not in read
    again.close()


def test_an_item_known_from_events_alone_keeps_what_the_model_knows(shop: Shop, settings: Settings) -> None:
    service = Service.open(settings)
    service.add_events([Event(user_id="u", item_id="item2")]).result()
    service.swap(shop.model.name)
    network = Network.load(shop.model)
    place = network.vocabulary.index("item2")
    inputs, outputs = served(service, ["item2"])
    assert np.array_equal(inputs[0], network.own_vectors.inputs.wide()[place])
    assert np.array_equal(outputs[0], network.own_vectors.outputs.wide()[place])
    service.close()


def test_every_item_of_a_model_is_placed_where_training_left_it(shop: Shop) -> None:
    network = Network.load(shop.model)
    items = shop.dataset.items()
    encoder = TorchTextEncoder(shop.settings.content.text_model, shop.settings.content.max_tokens)
    content = encoder.encode(item_texts(items))
    features = normalise(items, network.info.features)
    own = network.own_vectors
    assert own.known[1:].sum() == RING
    assert own.contents.wide()[1:].any(axis=1).sum() >= RING - 1
    assert_near(network.place(content, features, network.own_vectors.rows[1:]), left_by_training(network))


def test_an_absurd_number_harms_no_one(shop: Shop, settings: Settings) -> None:
    service = Service.open(settings, model=shop.model, history=shop.dataset.path)
    absurd = {"large": 1e308, "larger": 10**400}
    service.put_items([Item(item_id=name, title="blue tea", attributes={"size": n}) for name, n in absurd.items()])
    service.put_items([Item(item_id="dear", title="blue tea", price=1e308)])
    service.close()
    again = Service.open(settings, model=shop.model)
    inputs, outputs = served(again, [*absurd, "dear"])
    assert np.isfinite(inputs).all()
    assert np.abs(outputs).max() < 100
    again.close()


def test_a_new_item_is_like_one_that_says_the_same(shop: Shop, service: Service) -> None:
    service.put_items([Item(item_id=name, title="iron kettle", price=2.0) for name in ("one", "two")])
    service.put_items([Item(item_id="other", title="blue tea")])
    assert service.similar("one", 1).result()[0].item_id == "two"
    # The two that say nothing are alike in nothing but that.
    service.put_items([Item(item_id="empty"), Item(item_id="void")])
    assert {found.reason for found in service.similar("empty", 3).result()} == {"popular"}
    assert "void" not in [found.item_id for found in service.similar("one", 5).result()]


def test_a_model_begun_from_another_places_new_items_as_it_was_trained(shop: Shop, tmp_path: Path) -> None:
    events, _ = ring(RING, 30, 8)
    dataset = prepare(events, items=catalogue(WORDS[::-1]), out=tmp_path / "data")
    train(dataset, out=tmp_path / "model", settings=shop.settings, protocol="all", from_model=shop.model)
    items = dataset.items()
    encoder = TorchTextEncoder(shop.settings.content.text_model, shop.settings.content.max_tokens)
    content = encoder.encode(item_texts(items))
    for stage in ("refitted", "fitted"):
        network = Network.load(tmp_path / "model", stage)
        features = normalise(items, network.info.features)
        assert_near(network.place(content, features, network.own_vectors.rows[1:]), left_by_training(network))


def test_one_item_has_the_features_of_the_whole_table(shop: Shop) -> None:
    frame = shop.dataset.items()
    statistics = Network.load(shop.model).info.features
    assert np.array_equal(item_features(items_of(frame), statistics), normalise(frame, statistics))
    material = Material.read(shop.dataset, shop.settings, "all", shop.model / "text", lambda done, of: None)
    learner = material.learner(PRESETS["tiny"], shop.settings, None)
    assert np.array_equal(learner.content.features_nF[1:].numpy(), normalise(frame, statistics))


def test_a_service_that_stops_takes_no_model_whose_texts_must_be_read(service: Service, shop: Shop) -> None:
    serving = service.desk.model
    service.put_items([Item(item_id="late", title="black bowl of iron")])
    service.desk.take(shop.model)  # what it reads is kept, so that the next has nothing to read
    service.desk.give_up()
    service.desk.take(shop.model)
    taken = service.desk.model
    assert taken is not serving
    service.writer.upsert_items([Item(item_id="later", title="green tray of tea")]).result()
    with pytest.raises(StoppedError, match="ask the next one"):
        service.desk.take(shop.model)
    assert service.desk.model is taken
