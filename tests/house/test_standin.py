"""The device half of minigrad without a device: tests that run under a strict stand-in for CuPy.

`tests/standin/cupy` says what the stand-in is. It must be there before minigrad asks for CuPy, so
these tests run in processes of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# What runs: the files of the stand-in's own folder, and tests that run on NumPy as well.
PATTERNS = [
    "standin/check_*.py",
    "cuda/test_*.py",
    "data/test_backend.py",
    "engine/test_autodiff.py",
    "engine/test_devices.py",
    "engine/test_observers.py",
    "engine/test_transforms.py",
    "learner/test_learner.py",
    "learner/test_metrics.py",
    "nn/test_*.py",
    "ops/test_*.py",
    "optim/test_*.py",
]
# But for these: they compare with PyTorch, which is on the host, or are about NumPy arrays.
HOST_FILES = [
    "nn/test_functional_peer.py",
    "nn/test_torch_files.py",
    "nn/test_torch_layers.py",
    "nn/test_twin.py",
    "ops/test_against_torch.py",
    "ops/test_lists.py",
    "ops/test_numerics.py",
    "optim/test_copies.py",
    "optim/test_schedules.py",
]
FILES = sorted(
    {path for pattern in PATTERNS for path in TESTS.glob(pattern)}
    - {TESTS / name for name in HOST_FILES}
)


def name_of(path):
    return path.relative_to(TESTS).as_posix()


# What does not: tests that are about NumPy arrays, or hand them to tensors on the device.
HOST_ONLY = {
    "engine/test_autodiff.py": [
        "test_a_grad_shares_no_memory",
        "test_dlpack_shares_memory",
        "test_a_tensor_shares_its_array",
        "test_an_untracked_tensor_is_an_array_to_numpy",
        "test_repr_says_what_matters",
    ],
    "nn/test_embedding.py": [
        "test_an_id_out_of_range_is_named_with_its_position",
        "test_sparse_gradients_are_not_captured",
    ],
    "nn/test_lazy.py": ["test_a_step_that_is_captured_makes_no_parameters"],
    "nn/test_packed.py": ["test_packing_within_a_captured_step"],
    "learner/test_learner.py": [
        "test_a_setting_that_changes_in_every_step_ends_compiling",
        "test_a_step_cannot_read_how_much_its_batch_counts",
        "test_a_step_that_cannot_be_captured_runs_as_it_is",
        "test_metrics_in_the_way_of_keras",
        "test_named_optimizers_train_their_own_parts",
    ],
    "learner/test_metrics.py": ["test_metrics_refuse_to_be_captured"],
    "engine/test_observers.py": ["test_declined_kernels_are_counted"],
    "ops/test_elementwise.py": [
        "test_bfloat16_is_not_lifted_by_a_number",
        "test_complex_numbers_are_refused",
    ],
    "ops/test_linalg.py": ["test_a_singular_matrix_is_named"],
    "ops/test_shaping.py": ["test_asarray_shares_and_keeps_the_history"],
    "ops/test_table.py": [
        "test_attention_of_a_masked_row_is_zero_and_moves_nothing",
        "test_cross_entropy_with_nothing_that_counts_is_zero",
        "test_float32_stays_float32",
        "test_getitem_takes_what_numpy_takes",
        "test_op[spread]",
        "test_the_padding_row_gets_no_gradient",
    ],
}


@pytest.mark.parametrize("pattern", PATTERNS + HOST_FILES)
def test_every_pattern_has_a_file(pattern):
    assert list(TESTS.glob(pattern))


READ_ONLY = [
    "engine/test_transforms.py",
    "nn/test_functional.py",
    "nn/test_modules.py",
    "ops/test_table.py",
]


def test_on_arrays_that_may_not_be_written_to():
    run([TESTS / name for name in READ_ONLY], {"MINIGRAD_BACKEND": "numpy"}, "-p", "read_only")


# A process for each: starting one takes as long as the tests of a file.
GROUPS = {
    "the table of ops": lambda name: name == "ops/test_table.py",
    "other ops and the engine": lambda name: name.startswith(("ops/", "engine/", "standin/")),
    "layers": lambda name: name.startswith("nn/"),
    "the rest": lambda name: not name.startswith("cuda/"),
}
GROUPS |= {name_of(path): name_of(path).__eq__ for path in sorted(TESTS.glob("cuda/test_*.py"))}


@pytest.mark.parametrize("group", GROUPS)
def test_under_the_stand_in(group):
    def first(path):
        return next(g for g, holds in GROUPS.items() if holds(name_of(path)))

    environment = {"MINIGRAD_BACKEND": "cupy"}
    if group.startswith("cuda/"):  # which are the kernels' own; without a C++ compiler they fail
        environment["MINIGRAD_KERNELS"] = "1"
    summary = run([p for p in FILES if first(p) == group], environment)
    assert "skipped" not in summary, summary


def run(paths, environment, *options):
    """Run the tests of some files in a process, on the stand-in but for HOST_ONLY; its summary."""
    deselected = []
    for path in paths if environment["MINIGRAD_BACKEND"] == "cupy" else ():
        source = path.read_text(encoding="utf-8")
        for name in HOST_ONLY.get(name_of(path), []):
            assert f"def {name.partition('[')[0]}(" in source, "HOST_ONLY is stale"
            deselected.append(f"{path.relative_to(TESTS.parent).as_posix()}::{name}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, "-q", "-p", "no:cacheprovider"]
        + ["-p", "few_examples", "-m", "not peer and not slow"]  # PyTorch is on the host
        + list(options)
        + [f"--deselect={name}" for name in deselected],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(TESTS / "standin"), os.environ.get("PYTHONPATH")])
            ),
            "MINIGRAD_KERNELS": "0",  # the formulas are looked at
        }
        | environment,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert re.search(r"\b[1-9]\d* passed", summary), summary
    return summary
