"""One training step of the translator: forward, backward, Adam; against PyTorch in the same run.

    python -m benchmarks.train_step [--rounds N] [--threads N] [--save]

Both get the same weights and batches, and must agree in the losses of their first five steps to
1e-4 before anything is timed. One turn is a pass over the corpus's batches of one epoch, so that
lengths and groups are as mixed as in training. Without PyTorch only ours is timed.
"""

import argparse

import numpy as np

from benchmarks.harness import measure, table, write
from jsl.batching import epoch_batches
from jsl.config import PRESETS
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.model import batch_loss, build_model
from jsl.vocabulary import Vocabulary
from minigrad import optim
from minigrad.kernels import cpu
from minigrad.nn import sinusoids

AGREEMENT = 1e-4


def cases():
    """Pairs (title, rows): the preset as it is trained, and one group alone."""
    config, _ = PRESETS["tiny"]
    rows = load_corpus(starter_corpus_path(), config.max_seq_len).rows
    yield "tiny, two groups, batch 8", rows
    first = rows[0].group
    yield "tiny, one group, batch 8", tuple(row for row in rows if row.group == first)


def prepare(rows):
    """Our step and PyTorch's as functions of a batch's number, and how many batches there are."""
    config, training = PRESETS["tiny"]
    vocabulary = Vocabulary.from_tags(tag for row in rows for tag in row.tags)
    groups = tuple(dict.fromkeys(row.group for row in rows))
    batches = list(epoch_batches(rows, vocabulary, training.batch_size, seed=0, epoch=0))
    model = build_model(config, vocabulary, groups, seed=0)
    adam = optim.Adam(model, lr=training.learning_rate)

    def ours(i: int) -> float:
        loss = batch_loss(model, batches[i])
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss.item()

    steps = {"minigrad": ours}
    try:
        import torch

        from benchmarks.peers import torch_seq2seq as peer
    except ImportError:
        return steps, len(batches)
    positions = sinusoids(config.max_seq_len, config.d_model)
    for name, fused in (("PyTorch", False), ("PyTorch, fused Adam", True)):
        twins = {}
        for group in groups:
            twin = peer.Seq2Seq(vocabulary.size, config.to_json(), positions)
            state = model[group].state_dict(layout="torch")
            twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
            twins[group] = twin
        trainer = peer.Trainer(peer.Grouped(twins), training.learning_rate, fused)
        tensors = [
            (b.groups, *map(torch.from_numpy, (b.src, b.tgt_in, b.tgt_out))) for b in batches
        ]
        steps[name] = lambda i, trainer=trainer, tensors=tensors: trainer.step(*tensors[i])
    return steps, len(batches)


def verify(steps) -> None:
    """Five steps each from the same weights; raises unless the losses agree."""
    losses = {name: [step(i) for i in range(5)] for name, step in steps.items()}
    for name, found in losses.items():
        np.testing.assert_allclose(found, losses["minigrad"], rtol=AGREEMENT, err_msg=name)


def one_pass(step, count: int):
    """A function that takes one step on every batch."""
    return lambda: [step(i) for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write results/train_step.json")
    options = parser.parse_args()
    try:
        import torch

        torch.set_num_threads(options.threads)
        peers = {"torch": torch.__version__}
    except ImportError:
        peers = {}
    cpu.warm_up()
    rows = []
    for title, corpus_rows in cases():
        steps, count = prepare(corpus_rows)
        verify(steps)
        passes = {name: one_pass(step, count) for name, step in steps.items()}
        timings = measure(passes, rounds=options.rounds)
        for name, timing in timings.items():
            rows.append(
                {
                    "case": title,
                    "library": name,
                    "ms a step": timing.median / count * 1e3,
                    "times ours": timing.ratio(timings["minigrad"]),
                }
            )
    print(table(rows))
    if options.save:
        print(write("train_step", rows, peers=peers, threads=options.threads))


if __name__ == "__main__":
    main()
