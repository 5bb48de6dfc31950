"""What the examples share: their options, means over seeds, initial weights, pictures."""

import argparse
import functools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minigrad import data, nn, optim

Figures = dict[str, float]
M = TypeVar("M", bound=nn.Module)


def main(
    doc: str,
    run: Callable[..., Figures],
    epochs: int,
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Run an example as its command line says, once or for several seeds, and print its figures.

    Args:
        doc: the example's docstring, whose first line is the description.
        run: called with epochs, seed, out and what `more` added; gives the figures by name.
        epochs: the default.
        more: adds options of the example's own.
    """
    name = Path(run.__code__.co_filename).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m minigrad.examples.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=epochs, help=f"(default {epochs})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="N runs, from --seed on; mean and spread"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("examples", name),
        help=f"where pictures and files go (default examples/{name}, below here)",
    )
    if more is not None:
        more(parser)
    options = vars(parser.parse_args())
    if options["epochs"] < 1 or options["seeds"] < 1:
        parser.error("--epochs and --seeds must be at least 1")
    first, count = options.pop("seed"), options.pop("seeds")
    options["out"].mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(first, first + count):
        if count > 1:
            print(f"seed {seed}", flush=True)
        try:
            found.append(run(seed=seed, **options))
        except (ModuleNotFoundError, FileNotFoundError) as error:
            parser.exit(1, f"{error}\n")
        print(listing(found[-1]), flush=True)
    if count > 1:
        print(f"mean over seeds {first} to {first + count - 1}\n{spread(found)}")


def training_step(
    model: nn.Module, optimizer: optim.Optimizer, loss_of: Callable, *batch: Any
) -> functools.partial:
    """One step down the slope of `loss_of(*batch)`, which calls `model`, ready to be called.

    For `python -m minigrad.study NAME`, which walks through one step of each example.
    """

    def step(*batch):
        loss = loss_of(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return functools.partial(step, *batch)


def noise(count: int, side: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 1, side, side) and labels (count,) where no file shall be needed."""
    generator = np.random.default_rng(0)
    x = generator.random((count, 1, side, side), np.float32)
    return x, generator.integers(0, classes, count)


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first digits of 8 x 8 pixels, for one step; where scikit-learn is missing, noise.

    So that a step can be studied wherever minigrad is installed. What was taken instead is said.
    """
    try:
        x, y = data.digits()
    except ModuleNotFoundError as error:
        print(f"noise stands for the pictures: {error}", file=sys.stderr)
        return noise(count, 8)
    return x[:count], y[:count]


def listing(figures: Figures) -> str:
    """A line for each figure."""
    width = max(map(len, figures))
    return "\n".join(f"  {name:{width}}  {value:.4g}" for name, value in figures.items())


def spread(runs: Sequence[Figures]) -> str:
    """A line for each figure: mean, standard deviation, smallest and largest."""
    width, lines = max(map(len, runs[0])), []
    for name in runs[0]:
        values = [run[name] for run in runs]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        lines.append(
            f"  {name:{width}}  {mean:.4f} +- {deviation:.4f}  "
            f"({min(values):.4f} to {max(values):.4f})"
        )
    return "\n".join(lines)


def glorot_(model: M) -> M:
    """The model, with weights Glorot-uniform and biases zero, as the lecture's libraries have them.

    Weights are what has two axes or more.
    """
    for name, p in model.named_parameters():
        if p.ndim > 1:
            nn.init.xavier_uniform_(p)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
    return model


def pictures(out: Path | None) -> Any:
    """matplotlib's pyplot, drawing to files only; None without `out`, or without matplotlib."""
    if out is None:
        return None
    try:
        import matplotlib
    except ModuleNotFoundError:
        print("no pictures: they need matplotlib (pip install 'minigrad[plot]')")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def grid(images: np.ndarray, out: Path | None, name: str, titles: Sequence[str] = ()) -> None:
    """Write square images (N, 1, H, W), ten in a row, to `out`/`name`."""
    if not len(images) or (plot := pictures(out)) is None:
        return
    assert out is not None
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    figure, axes = plot.subplots(
        rows, columns, figsize=(columns * 0.9, rows * (1.15 if titles else 0.9)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for i, (image, axis) in enumerate(zip(images, axes.flat, strict=False)):
        axis.imshow(image[0], cmap="gray_r")
        if titles:
            axis.set_title(titles[i], fontsize=8)
    save(plot, figure, out / name)


def save(plot: Any, figure: Any, path: Path) -> None:
    """Write a figure and say where."""
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plot.close(figure)
    print(f"written: {path}")


def curves(series: Mapping[str, Sequence[float]], out: Path | None, name: str) -> None:
    """Write lines over epochs, one for each name, to `out`/`name`."""
    if (plot := pictures(out)) is None:
        return
    assert out is not None
    figure, axis = plot.subplots(figsize=(6, 3.5))
    for label, values in series.items():
        axis.plot(range(1, len(values) + 1), values, label=label)
    axis.set_xlabel("epoch")
    axis.legend()
    save(plot, figure, out / name)
