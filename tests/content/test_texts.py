"""Text encoders: PyTorch equals ONNX, a text has one vector in any company, and no text is read twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.text_torch import TorchTextEncoder, find_text_model
from headrace.content.vectors import VectorCache
from headrace.core.errors import FormatError, NotFoundError
from headrace.data.log import Floats

WORDS = ["[PAD]", "[UNK]", "tea", "cup", "green", "blue", "pot", "of", "iron"]
TEXTS = ["green tea", "", "blue cup of tea", "iron tea pot iron tea pot iron tea pot", "  ", "words never met"]


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that Hugging Face loads: a BERT of two layers that knows nine words."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(1)
    configuration = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(configuration).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(local_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    TorchTextEncoder(str(local_model), max_tokens=8).export(folder)
    return folder


def test_torch_equals_onnx(local_model: Path, exported: Path) -> None:
    by_torch = TorchTextEncoder(str(local_model), max_tokens=8).encode(TEXTS)
    by_onnx = OnnxTextEncoder(exported).encode(TEXTS)
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)


def test_vectors_have_length_one_and_no_text_has_none(exported: Path) -> None:
    lengths = np.linalg.norm(OnnxTextEncoder(exported).encode(TEXTS), axis=1)
    assert lengths.tolist() == pytest.approx([1, 0, 1, 1, 0, 1], abs=1e-5)


def test_alone_or_among_others_a_text_has_one_vector(exported: Path) -> None:
    encoder = OnnxTextEncoder(exported)
    together = encoder.encode(TEXTS)
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode([text])[0], together[place], atol=1e-5)


def test_a_long_text_is_cut(exported: Path) -> None:
    encoder = OnnxTextEncoder(exported)
    eight = "iron tea pot iron tea pot iron tea"
    found = encoder.encode([eight, eight + " blue blue blue"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_text_longer_than_the_model_has_places_for_is_cut_there(local_model: Path, tmp_path: Path) -> None:
    encoder = TorchTextEncoder(str(local_model), max_tokens=64)
    encoder.export(tmp_path)
    served = OnnxTextEncoder(tmp_path)
    assert served.max_tokens == 16
    found = served.encode(["iron tea pot " * 20, "iron tea pot " * 5 + "iron"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(["iron tea pot " * 20]), found[:1], atol=1e-4)


class Counting:
    """Counts the texts that it is asked for; a text's vector says how long it is."""

    width = 2

    def __init__(self, max_tokens: int = 8) -> None:
        self.asked: list[str] = []
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> Floats:
        self.asked += texts
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_a_distinct_text_is_read_once_ever(tmp_path: Path) -> None:
    encoder = Counting()
    texts = ["tea", "cup", "tea", "", "teapot"]
    first = VectorCache(tmp_path, encoder).vectors(texts)
    assert first[:, 0].tolist() == [3, 3, 3, 0, 6]
    assert sorted(encoder.asked[1:]) == ["cup", "tea", "teapot"]
    done: list[tuple[int, int]] = []
    again = VectorCache(tmp_path, encoder).vectors([*texts, "a new one"], lambda n, of: done.append((n, of)))
    assert np.array_equal(again[:5], first)
    assert again[5, 0] == 9
    assert encoder.asked[5:] == ["a new one"]
    assert done == [(1, 1)]


def test_a_cache_that_died_between_its_files_heals(tmp_path: Path) -> None:
    encoder = Counting()
    VectorCache(tmp_path, encoder).vectors(["tea", "pot"])
    (table,) = tmp_path.glob("*/vectors.f32")
    with table.open("ab") as file:
        file.write(b"\x00" * 11)
    found = VectorCache(tmp_path, encoder).vectors(["pot", "kettle", "tea"])
    assert found[:, 0].tolist() == [3, 6, 3]


def test_two_who_keep_vectors_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, other = VectorCache(tmp_path, Counting()), VectorCache(tmp_path, Counting())
    one.vectors(["tea"])
    other.vectors(["teapot", "tea"])
    assert one.vectors(["teapot", "tea", "kettles"])[:, 0].tolist() == [6, 3, 7]
    assert other.vectors(["tea", "cup", "teapot"])[:, 0].tolist() == [3, 3, 6]
    third = Counting()
    found = VectorCache(tmp_path, third).vectors(["cup", "kettles", "tea", "teapot"])
    assert found[:, 0].tolist() == [3, 7, 3, 6]
    assert len(third.asked) == 1  # the sentence that names the encoder


def test_where_texts_are_cut_is_part_of_what_is_kept(tmp_path: Path) -> None:
    VectorCache(tmp_path, Counting(8)).vectors(["tea"])
    longer = Counting(16)
    VectorCache(tmp_path, longer).vectors(["tea"])
    assert longer.asked[1:] == ["tea"]


def test_auto_is_the_packaged_model_and_none_reads_nothing() -> None:
    found = find_text_model("auto")
    assert found is not None
    assert (Path(found) / "model.safetensors").is_file()
    assert find_text_model("none") is None
    assert find_text_model("some/name") == "some/name"


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"content\.text_model"):
        TorchTextEncoder(str(tmp_path / "nothing"), max_tokens=8)
    with pytest.raises(FormatError, match="text encoder"):
        OnnxTextEncoder(tmp_path)
