"""A saved run as a picture: how its loss fell, and where its decoder looks for each tag.

    python -m benchmarks.pictures RUN FILE.svg [--text TEXT] [--group GROUP]

The README's picture is of the run that its first command saves:

    python -m benchmarks.pictures models/first benchmarks/results/first_run.svg

The curve is the loss per token of `metrics.json`. The map has the attention weights of the last
layer of the decoder, the mean of its heads: a row for each tag that is looked for, a column for
each symbol of the text. SVG is text: it needs no library to draw, and no Japanese font here.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import minigrad as mg
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY

END = "end"  # the mark behind a text, and behind its tags


def attention(
    translator: Translator, text: str, group: str
) -> tuple[np.ndarray, list[str], list[str]]:
    """The weights (T, S) of one translation, and the names of its T rows and S columns.

    Raises:
        AssertionError: the weights are not what the layer computes with.
    """
    vocabulary, model = translator.vocabulary, translator.model[group]
    [translation] = translator.translate([text], group)
    source = translator.encode(text)
    tags = translation.tags.split()
    target = [BOUNDARY, *vocabulary.encode_tags(tags)[:-1]]
    layer = model.decoder.layers[-1].multihead_attn
    seen: list = []
    remove = layer.register_forward_hook(lambda layer, args, y: seen.append((args, y)))
    with mg.no_grad():
        model(np.array([source]), np.array([target]))
        remove()
        [((query, key, value, *_), y)] = seen
        q, k, v = layer.q_proj(query), layer.k_proj(key), layer.v_proj(value)
        q, k, v = (heads(x.numpy()[0], layer.num_heads) for x in (q, k, v))
        weights = mg.softmax(q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]))
        again = layer.out_proj((weights @ v).swapaxes(0, 1).reshape(len(target), -1))
    np.testing.assert_allclose(again.numpy(), y.numpy()[0], rtol=1e-4, atol=1e-5)
    symbols = [vocabulary.source_tokens[i] for i in source[:-1]]
    return weights.mean(axis=0), [*tags, END], [*symbols, END]


def heads(x: np.ndarray, count: int) -> np.ndarray:
    """(T, D) -> (H, T, D / H)"""
    return x.reshape(len(x), count, -1).swapaxes(0, 1)


# ------------------------------------------------------------------------------------ drawing


def picture(
    losses: Sequence[float], weights: np.ndarray, rows: list[str], columns: list[str]
) -> str:
    """Both, side by side, as SVG."""
    wide = 430 + 30 * len(columns) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} 250" width="{wide}"'
        ' height="250" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{wide}" height="250" fill="white"/>',
        *curve(losses, left=50, top=40, width=270, height=165),
        *heat_map(weights, rows, columns, left=430, top=93, cell=30),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def curve(losses: Sequence[float], left: int, top: int, width: int, height: int) -> list[str]:
    """Losses over epochs; the scale of losses is logarithmic."""
    low = math.floor(math.log10(min(losses)))
    high = max(math.ceil(math.log10(max(losses))), low + 1)

    def x(epoch: float) -> float:
        return left + width * (epoch - 1) / max(len(losses) - 1, 1)

    def y(loss: float) -> float:
        return top + height * (high - math.log10(loss)) / (high - low)

    parts = [label(left, top - 18, "loss per token", "start")]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
        )
        parts.append(label(left - 8, at + 4, f"{10.0**power:g}", "end"))
    for epoch in sorted({1, (len(losses) + 1) // 2, len(losses)}):
        parts.append(label(x(epoch), top + height + 18, str(epoch)))
    parts.append(label(left + width / 2, top + height + 36, "epoch"))
    points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(losses, 1))
    parts.append(f'<polyline points="{points}" fill="none" stroke="#08519c" stroke-width="2"/>')
    return parts


def heat_map(
    weights: np.ndarray, rows: list[str], columns: list[str], left: int, top: int, cell: int
) -> list[str]:
    """A square for each weight: white is 0, dark is the largest."""
    parts = [label(left, top - 71, "attention, last layer of the decoder", "start")]
    for j, name in enumerate(columns):
        parts.append(label(left + cell * (j + 0.5), top - 10, name))
    for i, name in enumerate(rows):
        parts.append(label(left - 8, top + cell * (i + 0.5) + 4, name, "end"))
        for j, weight in enumerate(weights[i]):
            parts.append(
                f'<rect x="{left + cell * j}" y="{top + cell * i}" width="{cell}" height="{cell}"'
                f' fill="#08519c" fill-opacity="{weight / weights.max():.2f}" stroke="#eee">'
                f"<title>{weight:.2f}</title></rect>"
            )
    return parts


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def draw(run: Path, text: str, group: str | None = None) -> str:
    """The picture of a saved run; of its first group if none is named."""
    history = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["history"]
    translator = Translator(run)
    return picture(
        [epoch["loss_per_token"] for epoch in history],
        *attention(translator, text, group or translator.groups[0]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a directory that `jsl train --save` wrote")
    parser.add_argument("file", type=Path, help="what to write: FILE.svg")
    parser.add_argument("--text", default="わたしはたべます", help="(default %(default)s)")
    parser.add_argument("--group", help="default: the run's first")
    options = parser.parse_args()
    drawn = draw(options.run, options.text, options.group)
    options.file.write_text(drawn, encoding="utf-8", newline="\n")
    print(f"written: {options.file}")


if __name__ == "__main__":
    main()
