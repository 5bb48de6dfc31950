"""Decoding to full length, greedily or with a beam, beside PyTorch and CTranslate2.

    python -m benchmarks.decode [--rounds N] [--cases tiny long large] [--beam N]
                                [--processor-time] [--save] [--json FILE]

All get the same weights and must find the same ids before anything is timed; with int8 weights, the
share of ids that are those of float32 is in the table. One sentence: one thread each. A batch: two
threads each, and of CTranslate2 both ways to use them (two threads a product; or half of the
sentences each) count. Libraries that are not installed are left out.

With `--beam N` the searches are beam searches of CTranslate2 and ours, with the length penalty 1.
Nobody ends before the full length, so that both keep the N best of all continuations in each step
and define the same result; scores within 1e-4 of each other count as ties. A batch has 32
sentences then, of every model.

With `--processor-time` all have one thread, and what they take of a processor is measured: on a
machine that others use as well, the time until the answer is mostly theirs.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import Timing, machine, measure, on_the_host, table, write
from minigrad import kernels, nn, no_grad, random

# vocabulary, d_model, heads, d_ff, layers, length, sentences of a batch
CASES = {
    "tiny": (168, 16, 2, 32, 4, 10, 8),
    "long": (168, 64, 4, 256, 4, 50, 32),
    "large": (512, 256, 8, 1024, 6, 50, 32),
}
THREADS = 2
BEAM_BATCH = 32
START, PAD = 1, 0


def build(case: str) -> nn.Seq2Seq:
    """A model with random weights that never writes padding, and whose best ids stand out."""
    vocabulary, d_model, heads, d_ff, layers, *_ = CASES[case]
    with random.stream(random.key(0)):
        model = nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers)
    output = model.decoder.output_projection
    output.weight = nn.Parameter(output.weight.data * 3)
    bias = output.bias.data.copy()
    bias[PAD] = -1e4
    output.bias = nn.Parameter(bias)
    return model.eval()


def contestants(case: str, model: nn.Seq2Seq, sentences: int, threads: int, beam: int = 1):
    """Pairs (name, function that decodes and returns lists of ids); `(name, None)` if absent."""
    vocabulary, d_model, heads, d_ff, layers, length, _ = CASES[case]
    src = sources(case, sentences)
    positions = nn.sinusoids(length, d_model)
    allowed = [i for i in range(vocabulary) if i != START]
    found = {}
    kinds = [("minigrad", "float32", "float32"), ("minigrad, int8 weights", "int8", "float32")]
    for name, weights, activations in [*kinds, ("minigrad, int8", "int8", "int8")]:
        generator = nn.Generator(
            model,
            start_id=START,
            end_id=START,
            allowed=allowed,
            max_length=length,
            weights=weights,
            activations=activations,
            use_kernels=True,
            threads=threads,
        )
        found[name] = lambda generator=generator: generator.beam(src, beam)
    with contextlib.suppress(ImportError):
        if beam > 1:  # the peer in PyTorch is greedy
            raise ImportError
        import torch

        from benchmarks.peers import torch_decoder, torch_seq2seq

        config = {"d_model": d_model, "n_heads": heads, "d_ff": d_ff, "n_layers": layers}
        twin = torch_seq2seq.Seq2Seq(vocabulary, config, positions).eval()
        state = model.state_dict(layout="torch")
        twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        decoder = torch_decoder.Decoder(twin, START, [START], length)
        ids = torch.from_numpy(src)

        def by_torch():
            torch.set_num_threads(threads)
            return decoder.greedy(ids).tolist()

        found["PyTorch"] = by_torch
    with contextlib.suppress(ImportError):
        from benchmarks.peers import ctranslate2_decoder

        kinds = [("CTranslate2", "float32", threads, 1), ("CTranslate2, int8", "int8", threads, 1)]
        if threads > 1:
            kinds += [("CTranslate2, split", "float32", 1, threads)]
            kinds += [("CTranslate2, int8, split", "int8", 1, threads)]
        for name, kind, each, workers in kinds:
            other = ctranslate2_decoder.Decoder(
                model, positions, START, length, kind, each, workers
            )
            tokens = other.tokens(src)
            found[name] = lambda other=other, tokens=tokens: other.search(tokens, beam)
    return found


def verify(found, tied: Callable) -> dict[str, float]:
    """The share of ids that are ours in float32; raises where others differ in float32.

    Args:
        tied: of a sentence's number and two rows of ids, whether their scores are equal.
    """
    ours = np.array(found["minigrad"]())
    shares = {}
    for name, decode in found.items():
        ids = np.array([[int(i) for i in row] for row in decode()])
        shares[name] = float((ids == ours).mean())
        if "int8" in name:
            continue
        others = np.flatnonzero((ids != ours).any(axis=1))
        if not all(tied(i, ids[i], ours[i]) for i in others.tolist()):
            raise AssertionError(f"{name}: only {shares[name]:.1%} of the ids are ours")
    return shares


def ties(case: str, model: nn.Seq2Seq, sentences: int, beam: int) -> Callable:
    """What `verify` asks: greedy search has no ties, beams have those of the model's own scores."""
    vocabulary, *_, length, _ = CASES[case]
    src = sources(case, sentences)
    allowed = [i for i in range(vocabulary) if i != START]

    def score(i: int, ids: np.ndarray) -> float:
        with no_grad():
            logits = model(src[i : i + 1], np.array([[START, *ids[:-1]]])).data[0]
        logits = logits[:, allowed].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        places = np.searchsorted(allowed, ids)
        return float(logs[np.arange(length), places].sum())

    return lambda i, a, b: beam > 1 and abs(score(i, a) - score(i, b)) < 1e-4 * length


def sources(case: str, sentences: int) -> np.ndarray:
    """Ids of sentences of full length."""
    vocabulary, *_, length, _ = CASES[case]
    return np.random.default_rng(1).integers(2, vocabulary, (sentences, length))


def run(
    case: str, sentences: int, threads: int, rounds: int, beam: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict]:  # fmt: skip
    """Rows of the table for one case."""
    model = build(case)
    found = contestants(case, model, sentences, threads, beam)
    shares = verify(found, ties(case, model, sentences, beam))
    timings = measure(found, rounds=rounds, clock=clock)
    what = "one sentence" if sentences == 1 else f"{sentences} sentences"
    rows = []
    for name, timing in timings.items():
        ours: Timing = timings["minigrad, int8" if "int8" in name else "minigrad"]
        rows.append(
            {
                "case": f"{case}, {what}" + (f", beam {beam}" if beam > 1 else ""),
                "library": name,
                "ms": timing.median * 1e3,
                "times ours": timing.ratio(ours),
                "equal ids, %": 100 * shares[name],
            }
        )
    return rows


def main() -> None:
    on_the_host()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--beam", type=int, default=1, help="hypotheses; 1 is greedy search")
    parser.add_argument("--processor-time", action="store_true", help="of one thread each")
    parser.add_argument("--save", action="store_true", help="write results/decode.json")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    kernels.warm_up("search")
    rows = []
    threads, clock = THREADS, time.perf_counter
    if options.processor_time:
        threads, clock = 1, time.process_time
    for case in options.cases:
        sentences = CASES[case][-1] if options.beam == 1 else BEAM_BATCH
        for count, each in ((1, 1), (sentences, threads)):
            rows += run(case, count, each, options.rounds, options.beam, clock)
    print(table(rows))
    if options.json:
        value = {"benchmark": "decode", "machine": machine(), "rows": rows}
        options.json.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    if options.save:
        name = "decode" if options.beam == 1 else f"decode_beam{options.beam}"
        more = {"notes": ["Processor time, one thread each."]} if options.processor_time else {}
        print(write(name, rows, peers=versions(), **more))


def versions() -> dict[str, str]:
    """Of the libraries beside ours."""
    from importlib import metadata

    found = {}
    for name in ("torch", "ctranslate2"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    main()
