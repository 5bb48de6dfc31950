"""The figures of a training, epoch by epoch."""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

from minigrad.runs import save_text

__all__ = ["History"]


def as_number(x: Any) -> float:
    """A figure as Python's float: what a Tensor or an array of one entry holds."""
    return float(x.item() if hasattr(x, "item") else x)


class History(Mapping[str, list]):
    """Figures by name, a list of one number for each epoch: `history["val_loss"][-1]`.

    A figure that an epoch did not have is None there.

    Attributes:
        epochs: a dictionary for each epoch.

    Raises:
        KeyError: a figure is asked for that no epoch had.
    """

    def __init__(self, epochs: list[dict[str, float]] | None = None):
        self.epochs: list[dict[str, float]] = list(epochs or [])

    def append(self, figures: Mapping[str, float]) -> None:
        """One more epoch."""
        self.epochs.append({name: as_number(value) for name, value in figures.items()})

    def __getitem__(self, name: str) -> list:
        if name not in self._names():
            raise KeyError(f"no figure '{name}'; there are {', '.join(self._names())}")
        return [epoch.get(name) for epoch in self.epochs]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for epoch in self.epochs for name in epoch))

    def to_csv(self, path: str | os.PathLike | None = None) -> str:
        """A line for each epoch under a line of names; written to `path` if there is one."""
        text = io.StringIO()
        names = self._names()
        writer = csv.DictWriter(text, ["epoch", *names], restval="", lineterminator="\n")
        writer.writeheader()
        for number, epoch in enumerate(self.epochs, start=1):
            writer.writerow({"epoch": number, **epoch})
        if path is not None:
            save_text(path, text.getvalue())
        return text.getvalue()

    def plot(self, *names: str, path: str | os.PathLike | None = None) -> Any:
        """A picture of the figures over epochs: one part for `loss` and `val_loss`, and so on.

        Args:
            names: which figures; by default all.
            path: where to write it, as what its ending says; by default nowhere.

        Returns:
            matplotlib's Figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "History.plot needs matplotlib: pip install 'minigrad[plot]'"
            ) from None
        parts: dict[str, list[str]] = {}
        for name in names or self._names():
            parts.setdefault(name.removeprefix("val_"), []).append(name)
        figure = Figure(figsize=(5 * max(len(parts), 1), 3.5), layout="constrained")
        for place, (title, lines) in enumerate(parts.items(), start=1):
            axis = figure.add_subplot(1, len(parts), place)
            for name in lines:
                values = [float("nan") if v is None else v for v in self[name]]
                axis.plot(range(1, len(values) + 1), values, marker=".", label=name)
            axis.set(title=title, xlabel="epoch")
            axis.legend()
        if path is not None:
            figure.savefig(path, dpi=100)
        return figure

    def __repr__(self) -> str:
        return f"History({len(self.epochs)} epochs of {', '.join(self._names())})"
