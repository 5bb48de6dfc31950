"""Rows of a table: one by one from NumPy and Polars, made into tensors, and a gather a batch.

    python -m benchmarks.data [--rounds N] [--save] [--json FILE]

There is a claim that a data set over Polars is faster than one over NumPy: its rows come as tuples,
and to make a tensor of an array is said to cost more than to make one of a tuple. The first rows of
the table settle it: what a row costs, and what a tensor of it costs, in ours and, where it is
installed, in PyTorch. The last ones are whole epochs through the loader, with a data set that gives
rows and one that gathers a batch at once.
"""

import contextlib
from importlib import metadata

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, measure, parser
from minigrad import data

ROWS, FEATURES, BATCH, SOME = 20_000, 10, 32, 500


class OneByOne(data.Dataset):
    """A data set as in the claim: `row(i)` gives the features and the target of one row."""

    def __init__(self, row):
        self.row = row

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        row = self.row(index)
        return np.array(row[:-1], np.float32), np.float32(row[-1])


def epoch(dataset):
    return list(data.DataLoader(dataset, BATCH, shuffle=True, as_arrays=True))


def main() -> None:
    options = parser(__doc__, rounds=9).parse_args()
    table = np.random.default_rng(0).standard_normal((ROWS, FEATURES + 1)).astype(np.float32)
    columns = {f"x{i}": np.ascontiguousarray(table[:, i]) for i in range(FEATURES)}
    columns["y"] = np.ascontiguousarray(table[:, -1])
    indices = np.random.default_rng(1).permutation(ROWS)[:SOME].tolist()

    rows = {"NumPy": lambda i: table[i]}
    fields = ([f"x{i}" for i in range(FEATURES)], "y")
    gathers = {"NumPy": data.ColumnDataset(columns, fields)}
    tensors = {"minigrad": (mg.Tensor, None)}
    with contextlib.suppress(ImportError):
        import polars

        frame = polars.DataFrame(columns)
        rows["Polars"] = frame.row
        gathers["Polars"] = data.ColumnDataset(frame, fields)
    with contextlib.suppress(ImportError):
        import pyarrow

        gathers["Arrow"] = data.ColumnDataset(pyarrow.table(columns), fields)
    with contextlib.suppress(ImportError):
        import torch

        as_float = lambda row: torch.tensor(row, dtype=torch.float32)  # noqa: E731
        tensors["PyTorch"] = (as_float, torch.from_numpy)

    one = {}  # what is done with one row: SOME times a call
    for source, row in rows.items():
        one[f"{source}: a row"] = lambda row=row: [row(i) for i in indices]
        kind = "array" if source == "NumPy" else "tuple"
        for library, (make, share) in tensors.items():
            one[f"{source}: a row, a {library} tensor of the {kind}"] = lambda row=row, make=make: [
                make(row(i)) for i in indices
            ]
            if share and source == "NumPy":
                one["NumPy: a row, torch.from_numpy"] = lambda row=row, share=share: [
                    share(row(i)) for i in indices
                ]
    whole = {f"{name}: rows, collated": OneByOne(row) for name, row in rows.items()}
    whole |= {f"{name}: a gather a batch": dataset for name, dataset in gathers.items()}

    expected = table[indices]
    for name, run in one.items():
        found = np.stack([np.asarray(x) for x in run()])
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)
    batches = epoch(whole["NumPy: rows, collated"])
    for name, dataset in whole.items():
        for ours, theirs in zip(epoch(dataset), batches, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0], err_msg=name)
            np.testing.assert_array_equal(ours[1], theirs[1], err_msg=name)

    def lines(timings, base, n):
        return [
            {
                "what": name,
                "us a row": timing.median / n * 1e6,
                "times the first": timing.ratio(timings[base]),
            }
            for name, timing in timings.items()
        ]

    singles = measure(one, rounds=options.rounds, seconds=0.05)
    table_rows = lines(singles, "NumPy: a row", SOME)
    runs = {name: lambda dataset=dataset: epoch(dataset) for name, dataset in whole.items()}
    found = measure(runs, rounds=options.rounds, seconds=0.1)
    table_rows += [
        {**line, "what": f"an epoch from {line['what']}"}
        for line in lines(found, "NumPy: rows, collated", ROWS)
    ]
    notes = [
        f"{FEATURES} features and a target in float32, {ROWS} rows in random order, batches of "
        f'{BATCH}. "the first" is a row of NumPy, and for epochs rows of NumPy, collated.'
    ]
    verdicts = [
        f"{singles[f'Polars: a row, a {name} tensor of the tuple'].ratio(singles[of_array]):.3g} "
        f"times as long as one of NumPy's array with {name}"
        for name in tensors
        if "Polars" in rows and (of_array := f"NumPy: a row, a {name} tensor of the array")
    ]
    if verdicts:
        notes.append(f"A tensor of Polars' tuple takes {' and '.join(verdicts)}.")
    finish("data", table_rows, options, notes, peers=versions())


def versions() -> dict[str, str]:
    """Of the libraries beside ours."""
    found = {}
    for name in ("polars", "pyarrow", "torch"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    main()
