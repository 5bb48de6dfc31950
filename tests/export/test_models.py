"""Whole models: what onnxruntime computes from the file is what the model computes.

Each is compared at sizes at which it was never called during the export.
"""

import numpy as np
import pytest

import minigrad as mg
from jsl.batching import padded
from jsl.config import ModelConfig
from jsl.decode import generator
from jsl.model import build_model
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import nn, random
from minigrad.examples import digits_cnn, mnist_vae

NUMBERS = np.random.default_rng(0)


def floats(*shape):
    return NUMBERS.standard_normal(shape).astype(np.float32)


def ids(high, *shape):
    return NUMBERS.integers(0, high, shape)


def test_an_mlp(compare):
    with random.stream(0):
        mlp = nn.Sequential(
            nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(16), nn.Linear(16, 3),
            nn.Softmax(),
        )  # fmt: skip
    run = compare(mlp, floats(1, 6), floats(1, 6), floats(57, 6), floats(256, 6))
    assert run.exported.inputs == {"x": ("batch", 6)}
    assert run.exported.outputs == {"output": ("batch", 3)}
    assert run.exported.max_lengths == {}


def test_the_digits_cnn(compare):
    compare(digits_cnn.network(0), floats(1, 1, 8, 8), floats(33, 1, 8, 8))


def test_a_cnn_with_norms_and_pools(compare):
    with random.stream(0):
        cnn = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.MaxPool2d(2, padding=1), nn.Conv2d(8, 8, 3, padding="same", groups=2, dilation=2),
            nn.GroupNorm(4, 8), nn.GELU(), nn.AvgPool2d(2), nn.Dropout2d(0.5),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip
        for _ in range(3):  # so that the running statistics are not those of the start
            cnn(mg.Tensor(floats(8, 3, 20, 20)))
    compare(cnn, floats(2, 3, 20, 20), floats(9, 3, 20, 20))
    assert cnn.training


def test_a_convolution_of_images_of_any_size(compare):
    with random.stream(0):
        cnn = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                            nn.Conv2d(4, 2, 3), nn.Flatten())  # fmt: skip
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    run = compare(
        cnn, floats(1, 1, 8, 9), floats(3, 1, 30, 21), floats(1, 1, 64, 10), dynamic_axes=axes
    )
    assert run.exported.inputs == {"x": ("batch", 1, "height", "width")}
    assert run.exported.outputs == {"output": ("batch", None)}


def test_the_parts_of_a_vae(compare):
    with random.stream(0):
        vae = mnist_vae.VAE(mnist_vae.ModelConfig(hidden=32, latent=5))
    run = compare(vae.decoder, floats(1, 5), floats(12, 5))
    assert run.exported.outputs == {"output": ("batch", 784)}
    run = compare(
        vae.encode, floats(1, 1, 28, 28), floats(12, 1, 28, 28),
        output_names=["mean", "log_variance"],
    )  # fmt: skip
    assert list(run.exported.outputs) == ["mean", "log_variance"]
    with pytest.raises(mg.errors.ExportError, match=r"random numbers are drawn.*mnist_vae\.py"):
        compare(vae, floats(1, 1, 28, 28))


def test_an_autoregressive_transformer(compare):
    class Decoder(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(11, 8)
            self.positions = nn.LearnedPositions(32, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, rotary=nn.RotaryPositions(4))
            self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))

        def forward(self, tokens):
            x = self.positions(self.embed(tokens))
            return self.layers(x, is_causal=True) @ self.embed.weight.T

    with random.stream(0):
        model = Decoder()
    run = compare(
        model, ids(11, 1, 4), ids(11, 3, 1), ids(11, 2, 32),
        dynamic_axes={"tokens": {0: "batch", 1: "length"}}, max_lengths={"length": 32},
    )  # fmt: skip
    assert run.exported.max_lengths == {"length": 32}
    with pytest.raises(Exception, match=r"out of data bounds|broadcast"):
        run(ids(11, 1, 33))


def test_a_recurrent_model_of_one_length(compare):
    with random.stream(0):
        lstm = nn.LSTM(3, 4, batch_first=True)
    compare(lambda x: lstm(x)[0], floats(1, 5, 3), floats(7, 5, 3))
    with pytest.raises(mg.errors.ExportError, match="which ops the model calls depends on"):
        compare(lambda x: lstm(x)[0], floats(1, 5, 3), dynamic_axes={"x": [0, 1]})


# ------------------------------------------------------------------------------ the translator

SRC, TGT = {0: "batch", 1: "length"}, {0: "batch", 1: "tags"}
LIMIT = 24


@pytest.fixture(scope="module")
def translator():
    """A translator of random weights whose sequences end, and its vocabulary."""
    vocabulary = Vocabulary.from_tags(["<今日>", "<学校>", "<私>", "<食べる>", "<行く>"])
    config = ModelConfig(d_model=16, n_heads=2, n_layers=2, d_ff=32, max_seq_len=LIMIT)
    model = build_model(config, vocabulary, ["deaf", "hearing"], seed=3)
    for p in model.parameters():
        if p.ndim > 1:
            p.data[...] *= 2  # so that what is written differs from text to text
    return model.eval(), vocabulary


def sources(vocabulary, *lengths):
    letters = [i for i in range(vocabulary.source_size) if i not in (PAD, BOUNDARY)]
    return padded([[*NUMBERS.choice(letters, n - 1).tolist(), BOUNDARY] for n in lengths])


def test_the_encoder_and_decoder_of_the_translator(translator, compare):
    model, vocabulary = translator
    one = model["hearing"]
    examples = [sources(vocabulary, *lengths) for lengths in ((3, 5), (1,), (9, 2, 4), (LIMIT,))]
    run = compare(
        one.encode, *examples,
        dynamic_axes={"src": SRC}, max_lengths={"length": LIMIT},
        output_names=["memory", "padding"],
    )  # fmt: skip
    assert run.exported.outputs == {
        "memory": ("batch", "length", 16), "padding": ("batch", "length")
    }  # fmt: skip
    compare(
        one.encoder, *((src, src == PAD) for src in examples),
        dynamic_axes={"src": SRC, "src_padding": SRC}, max_lengths={"length": LIMIT},
    )  # fmt: skip
    calls = [
        (ids(vocabulary.source_size, len(src), n), floats(len(src), src.shape[1], 16), src == PAD)
        for src, n in zip(examples, (4, 1, 7, LIMIT), strict=True)
    ]
    run = compare(
        one.decoder, *calls,
        dynamic_axes={"tgt": TGT, "memory": SRC, "src_padding": SRC},
        max_lengths={"tags": LIMIT},
    )  # fmt: skip
    assert run.exported.outputs == {"output": ("batch", "tags", vocabulary.source_size)}


def test_tags_found_with_the_files_are_those_of_the_translator(translator, export, tmp_path):
    model, vocabulary = translator
    one = model["deaf"]
    src = sources(vocabulary, 3, 5)
    encode = export(one.encode, src, dynamic_axes={"src": SRC}, max_lengths={"length": LIMIT})
    memory, padding = encode(src)
    decode = export(
        one.decode, (src, memory, padding),
        dynamic_axes={"tgt": TGT, "memory": SRC, "src_padding": SRC}, max_lengths={"tags": LIMIT},
    )  # fmt: skip

    def greedy(src):
        memory, padding = encode(src)
        allowed = np.asarray(vocabulary.output_ids)
        tgt = np.full((len(src), 1), BOUNDARY)
        for _ in range(LIMIT - 1):
            [logits] = decode(tgt, memory, padding)
            best = allowed[logits[:, -1, allowed].argmax(axis=1)]
            tgt = np.concatenate([tgt, best[:, None]], axis=1)
        rows = [row[1:].tolist() for row in tgt]
        return [row[: row.index(BOUNDARY)] if BOUNDARY in row else row for row in rows]

    own = generator(one, vocabulary, LIMIT)
    found = []
    for lengths in ((4,), (1,), (LIMIT,), (2, 9, 5), tuple(range(1, 17))):
        src = sources(vocabulary, *lengths)
        tags = greedy(src)
        assert tags == own.greedy(src)
        found += tags
    assert len({tuple(row) for row in found}) > 3  # they are not all alike


def test_a_whole_translator_is_exported_with_its_groups_as_they_are(translator, compare):
    model, vocabulary = translator
    src = sources(vocabulary, 3, 5, 4)
    groups = ["deaf", "hearing", "deaf"]
    run = compare(
        lambda src, tgt: model(groups, src, tgt), (src, ids(vocabulary.source_size, 3, 4)),
        dynamic_axes={}
    )  # fmt: skip
    assert run.exported.inputs["src"] == (3, 5)
