"""Saving and loading arrays beside the disk and the memory.

    python -m benchmarks.runs [--rounds N] [--megabytes N] [--save] [--json FILE]

Named arrays of float32 are written and read with all checks, that is a SHA-256 of each array and a
flush to disk; beside it, in the same rounds, the same bytes written and flushed by one call and
read by one call, and copied in memory. Read is what the system has in its cache, for both.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import finish, measure, parser
from minigrad import runs


def main() -> None:
    options_of = parser(__doc__, rounds=7)
    options_of.add_argument("--megabytes", type=int, default=256, help="(default 256)")
    options = options_of.parse_args()
    rng = np.random.default_rng(0)
    count = options.megabytes * 1_000_000 // 4 // 16
    arrays = {f"layers.{i}.weight": rng.random(count, np.float32) for i in range(16)}
    whole = np.concatenate(list(arrays.values()))
    copy, data = np.empty_like(whole), memoryview(whole).cast("B")

    with tempfile.TemporaryDirectory(dir=".") as folder:  # of this disk: others are in memory
        ours, plain = Path(folder, "a.safetensors"), Path(folder, "plain")

        def write() -> None:
            with open(plain, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        runs.save(ours, arrays)
        write()
        loaded = runs.load(ours)
        assert all(np.array_equal(loaded[name], array) for name, array in arrays.items())
        assert plain.read_bytes() == data
        timings = measure(
            {
                "save": lambda: runs.save(ours, arrays),
                "write and flush": write,
                "load": lambda: runs.load(ours),
                "one layer of 16": lambda: runs.load(ours, names="layers.7"),
                "read": plain.read_bytes,
                "copy in memory": lambda: np.copyto(copy, whole),
            },
            rounds=options.rounds,
            seconds=0.0,
        )
    size = whole.nbytes / 1e9
    disk = {"save": "write and flush", "load": "read", "one layer of 16": "read"}
    rows = []
    for name, timing in timings.items():
        part = size / 16 if name == "one layer of 16" else size
        share = part / size * 100
        beside = timings.get(disk.get(name, ""))
        rows.append(
            {
                "what": name,
                "ms": timing.median * 1e3,
                "GB/s": part / timing.median,
                "of the disk's, %": share * beside.ratio(timing) if beside else None,
                "of a copy's, %": share * timings["copy in memory"].ratio(timing),
            }
        )
    notes = [
        f"{options.megabytes} MB of float32 in 16 arrays. Saved and loaded bytes are hashed "
        "(SHA-256, on several threads where there are cores); the disk's are not."
    ]
    finish("runs", rows, options, notes, megabytes=options.megabytes)


if __name__ == "__main__":
    main()
