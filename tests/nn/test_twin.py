"""The same weights in PyTorch give the same logits, the same gradients and the same training.

Without PyTorch nothing here runs. Each test asks for the agreement that the number of bits allows:
logits relative to the largest logit, gradients relative to the largest entry of all gradients.
"""

import functools

import numpy as np
import pytest

from minigrad import nn, optim, random
from minigrad.autodiff import Tensor

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peer

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
SIZES = {
    "tiny": {"vocab_size": 168, "d_model": 16, "nhead": 2, "dim_feedforward": 32, "layers": 4},
    "other": {"vocab_size": 31, "d_model": 24, "nhead": 3, "dim_feedforward": 40, "layers": 2},
}
PAD = 0


@pytest.fixture(autouse=True)
def one_thread():
    """The same order of additions every time, and no other library's threads in the way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -------------------------------------------------------------------------------- the twin


class Half(torch.nn.Module):
    """What encoder and decoder share: embedding, positions, layers and the last norm."""

    def __init__(self, layer, vocab_size, d_model, nhead, dim_feedforward, layers):
        super().__init__()
        self.embed = torch.nn.Embedding(vocab_size, d_model, padding_idx=PAD)
        self.layers = torch.nn.ModuleList(
            layer(
                *(d_model, nhead, dim_feedforward),
                dropout=0.0,
                activation="relu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = torch.nn.LayerNorm(d_model)

    def embedded(self, ids):
        x = self.embed(ids)
        return x + positions(ids.shape[1], x.shape[-1]).to(x.dtype)


def positions(length, features):
    """Vaswani et al., section 3.5, in float64."""
    t = torch.arange(length, dtype=torch.float64)[:, None]
    i = torch.arange(0, features, 2, dtype=torch.float64)
    angle = t / 10000 ** (i / features)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Twin(torch.nn.Module):
    """`nn.Seq2Seq` from PyTorch's own layers, under the same names."""

    def __init__(self, **sizes):
        super().__init__()
        self.encoder = Half(torch.nn.TransformerEncoderLayer, **sizes)
        self.decoder = Half(torch.nn.TransformerDecoderLayer, **sizes)
        self.decoder.output_projection = torch.nn.Linear(sizes["d_model"], sizes["vocab_size"])

    def forward(self, src, tgt):
        padding = src == PAD
        memory = self.encoder.embedded(src)
        for layer in self.encoder.layers:
            memory = layer(memory, src_key_padding_mask=padding)
        memory = self.encoder.norm(memory)

        future = torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1)
        x = self.decoder.embedded(tgt)
        for layer in self.decoder.layers:
            x = layer(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
        return self.decoder.output_projection(self.decoder.norm(x))


def our_model(size, dtype, seed=1):
    sizes = dict(SIZES[size])
    layers = sizes.pop("layers")
    with random.stream(seed):
        model = nn.Seq2Seq(
            **sizes,
            num_encoder_layers=layers,
            num_decoder_layers=layers,
            padding_idx=PAD,
            dtype=dtype,
        )
    for i, p in enumerate(model.parameters()):
        if p.ndim == 1:  # biases and norms start as zeros and ones, which would hide mistakes
            p.data[...] += random.normal(random.fold(random.key(seed), i), p.shape, std=0.1)
    return model


def pair(size, dtype):
    """Ours and its twin, with the weights of ours."""
    ours, twin = our_model(size, dtype), Twin(**SIZES[size]).to(getattr(torch, dtype))
    state = ours.state_dict(layout="torch")
    twin.load_state_dict({name: torch.from_numpy(x) for name, x in state.items()})
    return ours, twin


def batch(size, seed=0, rows=6, longest=9):
    """Padded ids (src, tgt_in, tgt_out); row 0 is full, the others end anywhere."""
    rng = np.random.default_rng(seed)
    vocab_size = SIZES[size]["vocab_size"]
    found = []
    for length in (longest, longest - 2):
        ids = rng.integers(2, vocab_size, (rows, length))
        ends = np.array([length, *rng.integers(2, length + 1, rows - 1)])
        ids[np.arange(length) >= ends[:, None]] = PAD
        found.append(ids)
    src, out = found
    tgt = np.concatenate([np.ones((rows, 1), int), out[:, :-1]], axis=1)
    return src, tgt, out


def loss_of_ours(model, src, tgt, out):
    logits = model(src, tgt)
    return logits, nn.functional.cross_entropy(logits, out, axis=-1, ignore_index=PAD)


def loss_of_twin(model, src, tgt, out):
    src, tgt, out = map(torch.from_numpy, (src, tgt, out))
    logits = model(src, tgt)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), out.flatten(), ignore_index=PAD)
    return logits, loss


def far(a, b, scale):
    """The largest difference of two arrays, in units of `scale`."""
    return float(np.max(np.abs(a - b)) / scale)


CASES = pytest.mark.parametrize(
    ("size", "dtype"), [(size, dtype) for size in SIZES for dtype in TOLERANCE]
)


# ------------------------------------------------------------------------------ agreement


@CASES
def test_weights_go_to_pytorch_and_back(size, dtype):
    ours, twin = pair(size, dtype)
    other = our_model(size, dtype, seed=2)
    other.load_state_dict({name: x.numpy() for name, x in twin.state_dict().items()})
    for name, x in ours.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], x, err_msg=name, strict=True)


@CASES
def test_logits_and_all_gradients_agree(size, dtype):
    ours, twin = pair(size, dtype)
    data = batch(size)
    logits, loss = loss_of_ours(ours, *data)
    expected, expected_loss = loss_of_twin(twin, *data)
    loss.backward()
    expected_loss.backward()

    expected = expected.detach().numpy()
    logits_far = far(logits.detach().numpy(), expected, np.max(np.abs(expected)))
    assert logits_far <= TOLERANCE[dtype]
    assert loss.item() == pytest.approx(expected_loss.item(), rel=TOLERANCE[dtype])

    carrier = our_model(size, dtype)  # whose `load_state_dict` brings gradients to our layout
    carrier.load_state_dict({name: p.grad.numpy() for name, p in twin.named_parameters()})
    theirs = carrier.state_dict()
    largest = max(np.max(np.abs(g)) for g in theirs.values())
    distances = {}
    for name, p in ours.named_parameters():
        distances[name] = far(p.grad.numpy(), theirs[name], largest)
        if name.endswith("k_proj.bias"):
            # It shifts all scores of a query alike, which a softmax does not notice.
            assert far(p.grad.numpy(), 0, largest) <= TOLERANCE[dtype], name
    print(f"{size} {dtype}: logits {logits_far:.1e}, gradients {max(distances.values()):.1e}")
    assert {name: d for name, d in distances.items() if d > TOLERANCE[dtype]} == {}


@CASES
def test_training_stays_together(size, dtype):
    ours, twin = pair(size, dtype)
    optimizer = optim.Adam(ours, lr=1e-3)
    their_optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for step in range(10):
        data = batch(size, seed=step)
        _, loss = loss_of_ours(ours, *data)
        _, their_loss = loss_of_twin(twin, *data)
        # Losses and not weights: where a gradient is nothing but rounding, as for the biases of
        # keys, Adam makes whole steps of it, in any direction.
        assert loss.item() == pytest.approx(their_loss.item(), rel=TOLERANCE[dtype])
        loss.backward()
        their_loss.backward()
        for one in (optimizer, their_optimizer):
            one.step()
            one.zero_grad()


# ----------------------------------------------------------------------------------- Adam

ADAM = [
    {},
    {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": 0.01, "weight_decay": 0.1},
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", ADAM)
def test_adam_takes_the_steps_of_pytorch(options, dtype):
    rng = np.random.default_rng(3)
    normal = functools.partial(rng.normal, size=(4, 5))
    start = normal().astype(dtype)
    w = nn.Parameter(start.copy())
    v = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer, theirs = optim.Adam({"w": w}, **options), torch.optim.Adam([v], **options)
    for step in range(20):
        g = None if step in (3, 4, 11) else (10.0 ** rng.integers(-4, 3) * normal()).astype(dtype)
        w.grad = None if g is None else Tensor(g.copy())
        v.grad = None if g is None else torch.from_numpy(g.copy())
        optimizer.step()
        theirs.step()
        expected = v.detach().numpy()
        tolerance = TOLERANCE[dtype] / 10
        np.testing.assert_allclose(w.data, expected, rtol=tolerance, atol=tolerance)
    state = optimizer.state_dict()
    for moment in ("exp_avg", "exp_avg_sq"):
        expected = theirs.state[v][moment].numpy()
        np.testing.assert_allclose(
            state[f"{moment}.w"], expected, rtol=tolerance, atol=tolerance * expected.max()
        )
    assert state["step.w"] == theirs.state[v]["step"].item() == 17


def test_clipping_gives_the_norm_of_pytorch():
    grads = [np.random.default_rng(i).normal(size=(3, i + 1)).astype("float32") for i in range(3)]
    ours = [Tensor(np.zeros_like(g), True) for g in grads]
    theirs = [torch.nn.Parameter(torch.zeros(g.shape)) for g in grads]
    for p, v, g in zip(ours, theirs, grads, strict=True):
        p.grad, v.grad = Tensor(g.copy()), torch.from_numpy(g.copy())
    norm = optim.clip_grad_norm_(ours, 1.0)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 1.0).item(), rel=1e-6)
    for p, v in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), v.grad.numpy(), rtol=1e-5)
