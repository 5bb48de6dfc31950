"""A translator trained on a real parallel corpus, beside the same model in PyTorch.

    python -m benchmarks.translation [DIR] [--rounds EPOCHS] [--threads N] [--save] [--json FILE]

DIR holds a corpus of words between spaces, as that of neubig/nmt-tips: train.ja, train.en, dev.ja,
dev.en, test.ja and test.en. Without it sentences of the grammar are taken, kana between spaces, and
their tags. Both start from the same weights and get the same batches, of sentences
of about one length within a budget of positions, in the same order; their losses must agree to 1e-4
before training. They take turns, an epoch each. Afterwards the weights of both are decoded by the
same search, so that nothing but the training differs, and sacrebleu scores the test set.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import finish, parser
from jsl.batching import Batches, bucket, padded
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Corpus, load_parallel
from jsl.decode import generator
from jsl.generate import generate
from jsl.grammar import GROUPS
from jsl.train import Trainer
from minigrad import kernels, nn

AGREEMENT = 1e-4
MODEL = ModelConfig(128, 4, 512, 3, 50, dropout=0.2, layer_norm="pre")
TRAINING = TrainingConfig(
    0.001,
    warmup=800,
    clip_norm=1.0,
    label_smoothing=0.1,
    batch_tokens=1536,
    min_count=2,
    buckets=True,
)
BEAM = 4


def bleu(model: nn.Seq2Seq, trainer: Trainer, corpus: Corpus, beam: int) -> float:
    """BLEU of the translations of a corpus, tokenised as the corpus is."""
    import sacrebleu

    search = generator(model, trainer.vocabulary, trainer.model_config.max_seq_len)
    found = dict[int, str]()
    order = sorted(range(len(corpus.rows)), key=lambda i: len(corpus.rows[i].symbols))
    for start in range(0, len(order), 50):
        part = order[start : start + 50]
        src = padded([trainer.vocabulary.encode_symbols(corpus.rows[i].symbols) for i in part])
        for i, [best, *_] in zip(part, search.search(src, beam), strict=True):
            found[i] = trainer.vocabulary.decode_tags(best.ids)
    said = [found[i] for i in range(len(order))]
    references = [" ".join(row.tags) for row in corpus.rows]
    return sacrebleu.corpus_bleu(said, [references], tokenize="none", force=True).score


def peer(trainer: Trainer) -> Any:
    """The same model in PyTorch, with the same weights, as something with `step` and `loss`."""
    import torch

    from benchmarks.peers import torch_seq2seq

    config = {**MODEL.to_json(), "target_vocab_size": trainer.vocabulary.target_size}
    positions = nn.sinusoids(bucket(trainer.model_config.max_seq_len), MODEL.d_model)
    twin = torch_seq2seq.Seq2Seq(trainer.vocabulary.source_size, config, positions)
    state = trainer.model["default"].state_dict(layout="torch")
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    return torch_seq2seq.Trainer(
        torch_seq2seq.Grouped({"default": twin}),
        TRAINING.learning_rate,
        fused=True,
        warmup=TRAINING.warmup,
        clip_norm=TRAINING.clip_norm,
        label_smoothing=TRAINING.label_smoothing,
    )


def epoch_of(theirs: Any, batches: Batches, epoch: int) -> float:
    """Seconds of an epoch of the peer."""
    import torch

    batches.set_epoch(epoch)
    began = time.perf_counter()
    for batch in batches:
        arrays = (batch.src, batch.tgt_in, batch.tgt_out)
        theirs.step(batch.groups, *map(torch.from_numpy, arrays))
    return time.perf_counter() - began


def of_the_grammar(directory: Path) -> None:
    """Write 10,000 sentences for training, and 500 for each of the others, as files like those."""
    sentences = generate(11_000, 0, GROUPS[:1])
    begin = 0
    for part, count in (("train", 10_000), ("dev", 500), ("test", 500)):
        taken = sentences[begin : begin + count]
        begin += count
        for ending, lines in (
            ("ja", [" ".join(s.kana.replace(" ", "")) for s in taken]),
            ("en", [" ".join(s.tags(GROUPS[0])) for s in taken]),
        ):
            path = directory / f"{part}.{ending}"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def written(settings: dict[str, Any]) -> str:
    """Settings in words, without those that count for nothing here."""
    unused = ("epochs", "batch_size", "share", "kind", "loss_weighting")
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name not in unused)


def compare(directory: Path, epochs: int, threads: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Train both; a row for each, and what else is to be said."""
    kinds = {"source_kind": "word", "target_kind": "word"}
    train, dev, test = (
        load_parallel(directory / f"{part}.ja", directory / f"{part}.en", **kinds)
        for part in ("train", "dev", "test")
    )
    longest = max(MODEL.max_seq_len, train.longest, dev.longest, test.longest)
    kernels.set_num_threads(threads)
    model = replace(MODEL, max_seq_len=longest)
    trainer = Trainer(train, model, replace(TRAINING, epochs=epochs))
    tokens = sum(len(row.tags) + 1 for row in train.rows)
    seconds: dict[str, list[float]] = {"minigrad": []}
    try:
        import torch

        torch.set_num_threads(threads)
        theirs = peer(trainer)
        few = Batches(train.rows[:20], trainer.vocabulary, 20, 0)
        expected, [batch] = trainer.look(few), few
        arrays = (batch.src, batch.tgt_in, batch.tgt_out)
        found = theirs.loss(batch.groups, *map(torch.from_numpy, arrays))
        assert abs(found - expected) < AGREEMENT * expected, (found, expected)
        seconds["PyTorch, fused Adam"] = []
    except ImportError:
        theirs = None
    losses = []
    for epoch in range(epochs):
        trainer.last_epoch = epoch + 1
        began = time.perf_counter()
        trainer.run()
        seconds["minigrad"].append(time.perf_counter() - began)
        losses.append(trainer.history["loss"][-1])
        if theirs is not None:
            seconds["PyTorch, fused Adam"].append(epoch_of(theirs, trainer.batches, epoch))
        turns = ", ".join(f"{name} {times[-1]:.1f} s" for name, times in seconds.items())
        print(f"epoch {epoch + 1}/{epochs}: loss {losses[-1]:.3f}, {turns}", flush=True)
    ours = trainer.model["default"].eval()
    models = {"minigrad": ours}
    if theirs is not None:
        with_theirs = Trainer(train, model, TRAINING).model["default"].eval()
        with_theirs.load_state_dict(theirs.weights("default"))
        models["PyTorch, fused Adam"] = with_theirs
    rows = [
        {
            "library": name,
            "epochs": epochs,
            "target tokens/s": tokens / statistics.median(times),
            "of minigrad's": statistics.median(
                a / b for a, b in zip(seconds["minigrad"], times, strict=True)
            ),
            "BLEU, dev": bleu(models[name], trainer, dev, 1),
            "BLEU, test": bleu(models[name], trainer, test, 1),
            f"BLEU, test, beam {BEAM}": bleu(models[name], trainer, test, BEAM),
        }
        for name, times in seconds.items()
    ]
    plain = Batches(train.rows, trainer.vocabulary, 64, 0)
    source, target = trainer.vocabulary.source_size, trainer.vocabulary.target_size
    notes = [
        f"{len(train.rows):,} pairs, {tokens:,} target tokens an epoch, vocabularies of {source:,} "
        f"and {target:,} words. {len(trainer.batches)} batches an epoch, of which "
        f"{trainer.batches.padding():.0%} are padding; in batches of 64 sentences as they come it "
        f"would be {plain.padding():.0%}. {threads} thread{'s' if threads > 1 else ''}.",
        f"Model: {written(model.to_json())}. Training: {written(TRAINING.to_json())}.",
    ]
    return rows, notes


def main() -> None:
    options = parser(__doc__, rounds=15, threads=2)
    options.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.directory is None:
            of_the_grammar(Path(scratch))
        place = given.directory or Path(scratch)
        rows, notes = compare(place, given.rounds, given.threads)
    finish("translation", rows, given, notes)


if __name__ == "__main__":
    main()
