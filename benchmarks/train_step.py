"""One training step of the translator: forward, backward, Adam; beside PyTorch and JAX.

    python -m benchmarks.train_step [--sizes tiny,long,large] [--rounds N] [--threads N]
        [--save] [--json FILE]

Every library gets the same weights and batches, and must agree in the losses of the first steps to
1e-4 before anything is timed. They take turns in one run with the same number of threads. A library
that is not installed is left out. "as trained" is what `jsl train` does: two groups, and the mixed
lengths of the bundled corpus; a turn is one pass over its batches.
"""

import os

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, measure, parser, table
from jsl.batching import Batches
from jsl.config import PRESETS
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.model import arrays_of, build_model, loss_of
from jsl.vocabulary import Vocabulary
from minigrad import nn, optim, random
from minigrad.nn import sinusoids

AGREEMENT = 1e-4
# Vocabulary, d_model, heads, d_ff, layers of encoder and of decoder, length, batch.
SIZES = {
    "tiny": (168, 16, 2, 32, 4, 10, 8),
    "long": (168, 64, 4, 256, 4, 50, 32),
    "large": (512, 256, 8, 1024, 6, 50, 32),
}
LR = 1e-3


def trainer(model: nn.Module, loss: callable, jit: bool = True):
    """A step of ours."""
    adam = optim.Adam(model, lr=LR)

    def step(*batch):
        y = loss(model, *batch)
        y.backward()
        adam.step()
        adam.zero_grad()
        return y

    return mg.jit(step) if jit else step


def loss_of_one(model, src, tgt, out):
    return mg.cross_entropy(model(src, tgt), out, ignore_index=0)


def prepare(size: str) -> tuple[dict, int]:
    """A step of each library as a function of a batch's number, and how many batches there are."""
    vocabulary, d_model, heads, d_ff, layers, length, batch = SIZES[size]
    generator = np.random.default_rng(0)
    batches = []
    for _ in range(4):
        src, tgt, out = generator.integers(1, vocabulary, (3, batch, length))
        src[::3, length * 3 // 4 :] = out[::3, length * 3 // 4 :] = 0  # some are shorter
        batches.append((src, tgt, out))

    def model():
        with random.stream(0):
            return nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers)

    ours, eager = trainer(model(), loss_of_one), trainer(model(), loss_of_one, jit=False)
    steps = {
        "minigrad": lambda i: ours(*batches[i]).item(),
        "minigrad, without jit": lambda i: eager(*batches[i]).item(),
    }
    positions = sinusoids(length, d_model)
    config = {"d_model": d_model, "n_heads": heads, "d_ff": d_ff, "n_layers": layers}
    try:
        import torch

        from benchmarks.peers import torch_seq2seq as peer

        twin = peer.Seq2Seq(vocabulary, config, positions)
        state = model().state_dict(layout="torch")
        twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        theirs = peer.Trainer(peer.Grouped({"only": twin}), LR, fused=True)
        tensors = [tuple(map(torch.from_numpy, b)) for b in batches]
        groups = ["only"] * batch
        steps["PyTorch, fused Adam"] = lambda i: theirs.step(groups, *tensors[i])
    except ImportError:
        pass
    try:
        from benchmarks.peers import jax_seq2seq

        whole = jax_seq2seq.Trainer(model().state_dict(), positions, heads, layers, LR)
        steps["JAX, jit"] = lambda i: whole.step(*batches[i])
    except ImportError:
        pass
    return steps, len(batches)


def prepare_as_trained() -> tuple[dict, int]:
    """The same for the preset and the corpus that `jsl train` takes by default."""
    config, training = PRESETS["tiny"]
    rows = load_corpus(starter_corpus_path(), config.max_seq_len).rows
    vocabulary = Vocabulary.from_tags(tag for row in rows for tag in row.tags)
    groups = tuple(dict.fromkeys(row.group for row in rows))
    batches = list(Batches(rows, vocabulary, training.batch_size, seed=0))

    def model():
        return build_model(config, vocabulary, groups, seed=0)

    first, second = model(), model()
    ours, eager = trainer(first, loss_of), trainer(second, loss_of, jit=False)
    filled = [arrays_of(first, b.filled()) for b in batches]
    plain = [arrays_of(second, b) for b in batches]
    steps = {
        "minigrad": lambda i: ours(*filled[i]).item(),
        "minigrad, without jit": lambda i: eager(*plain[i]).item(),
    }
    try:
        import torch

        from benchmarks.peers import torch_seq2seq as peer
    except ImportError:
        return steps, len(batches)
    positions = sinusoids(config.max_seq_len, config.d_model)
    twins = {}
    for group in groups:
        twins[group] = twin = peer.Seq2Seq(vocabulary.source_size, config.to_json(), positions)
        state = first[group].state_dict(layout="torch")
        twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    theirs = peer.Trainer(peer.Grouped(twins), LR, fused=True)
    tensors = [(b.groups, *map(torch.from_numpy, (b.src, b.tgt_in, b.tgt_out))) for b in batches]
    steps["PyTorch, fused Adam"] = lambda i: theirs.step(*tensors[i])
    return steps, len(batches)


def verify(steps, count: int) -> None:
    """Some steps each from the same weights; raises unless the losses agree."""
    losses = {name: [step(i % count) for i in range(5)] for name, step in steps.items()}
    for name, found in losses.items():
        np.testing.assert_allclose(found, losses["minigrad"], rtol=AGREEMENT, err_msg=name)


def one_pass(step, count: int):
    """A function that takes one step on every batch."""
    return lambda: [step(i) for i in range(count)]


def main() -> None:
    arguments = parser(__doc__, rounds=9, threads=2)
    arguments.add_argument("--sizes", default="as trained,tiny,long,large")
    options = arguments.parse_args()
    os.environ.setdefault(
        "XLA_FLAGS",
        f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={options.threads}",
    )
    mg.kernels.set_num_threads(options.threads)
    peers = {}
    try:
        import torch

        torch.set_num_threads(options.threads)
        peers["torch"] = torch.__version__
    except ImportError:
        pass
    try:
        import jax

        peers["jax"] = jax.__version__
    except ImportError:
        pass
    mg.kernels.warm_up()
    rows = []
    for size in options.sizes.split(","):
        steps, count = prepare_as_trained() if size == "as trained" else prepare(size)
        verify(steps, count)
        passes = {name: one_pass(step, count) for name, step in steps.items()}
        timings = measure(passes, rounds=options.rounds)
        for name, timing in timings.items():
            rows.append(
                {
                    "size": size,
                    "library": name,
                    "ms a step": timing.median / count * 1e3,
                    "times ours": timing.ratio(timings["minigrad"]),
                }
            )
        print(table(rows[-len(timings) :]), end="\n\n", flush=True)
    finish("train_step", rows, options, peers=peers, threads=options.threads)


if __name__ == "__main__":
    main()
