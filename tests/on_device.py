"""Which tests run on a device, or on the stand-in for one, as they run on NumPy.

`pytest -m gpu` runs them, and those of `tests/cuda`, on the device that there is;
`tests/house/test_standin.py` on the stand-in. New arrays are CuPy's in all of them.
"""

import os
import re
import sys
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).parent

# What runs: the files of the stand-in's own folder, and tests that run on NumPy as well.
PATTERNS = [
    "standin/check_*.py",
    "cuda/test_*.py",
    "data/test_backend.py",
    "engine/test_autodiff.py",
    "engine/test_backend.py",
    "engine/test_devices.py",
    "engine/test_observers.py",
    "engine/test_random.py",
    "engine/test_transforms.py",
    "learner/test_metrics.py",
    "nn/test_*.py",
    "ops/test_*.py",
    "optim/test_*.py",
    "runs/test_directories.py",
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
# These run on a device, too; on the stand-in they would take minutes.
LONG = [
    "house/test_examples.py",
    "jsl/test_decode.py",
    "learner/test_builder.py",
    "learner/test_callbacks.py",
    "learner/test_learner.py",
    "learner/test_resume.py",
    "runs/test_arrays.py",
    "runs/test_pytorch_files.py",
]


def name_of(path):
    return path.relative_to(TESTS).as_posix()


# What does not in these files: tests that are about programs or kernels on the host.
HOST_ONLY = {
    "engine/test_backend.py": ["test_an_array_says_which_module_it_belongs_to"],
    "nn/test_embedding.py": ["test_sparse_gradients_are_not_captured"],
    "nn/test_lazy.py": ["test_a_step_that_is_captured_makes_no_parameters"],
    "nn/test_packed.py": ["test_packing_within_a_captured_step"],
    "learner/test_learner.py": [
        "test_a_setting_that_changes_in_every_step_ends_compiling",
        "test_a_step_cannot_read_how_much_its_batch_counts",
        "test_a_step_that_cannot_be_captured_runs_as_it_is",
        "test_metrics_in_the_way_of_keras",
        "test_named_optimizers_train_their_own_parts",
    ],
    "learner/test_builder.py": [
        "test_metrics_that_a_step_updates_without_arrays_count_in_every_step",
    ],
    "learner/test_resume.py": ["test_sigterm_saves_and_ends_the_process"],  # its own process
    "learner/test_metrics.py": ["test_metrics_refuse_to_be_captured"],
    "engine/test_observers.py": ["test_declined_kernels_are_counted"],
    "ops/test_linalg.py": ["test_a_singular_matrix_is_named"],  # which a device does not tell
}


def asked_for(config):
    """Whether `-m gpu` was given, alone or with more."""
    return bool(re.search(r"(?<!not )\bgpu\b", config.option.markexpr))


def begin(config):
    """Have arrays made on the device, which must be there.

    Raises:
        pytest.UsageError: there is none, or it does not compute.
    """
    os.environ.setdefault("MINIGRAD_BACKEND", "cupy")
    from minigrad.backend import explain, get_backend
    from minigrad.errors import BackendError

    try:
        there = get_backend() == "cupy"
        reason = explain()
    except BackendError as error:
        there, reason = False, str(error)
    if not there:
        raise pytest.UsageError(f"-m gpu: {reason}")
    # The first call of a kernel compiles it.
    hypothesis.settings.register_profile("device", deadline=None)
    hypothesis.settings.load_profile("device")


def mark(items):
    """Mark with `gpu` what runs on a device beside the tests of `tests/cuda`."""
    files = {*FILES, *(TESTS / name for name in LONG)}
    for item in items:
        if item.path not in files or any(map(item.get_closest_marker, ("peer", "slow"))):
            continue
        host_only = HOST_ONLY.get(name_of(item.path), [])
        if not {item.name, item.name.partition("[")[0]} & set(host_only):
            item.add_marker(pytest.mark.gpu)
    if Path(sys.modules["cupy"].__file__).is_relative_to(TESTS / "standin"):
        for item in items:  # it computes with NumPy, so that a few examples show as much
            if hasattr(item.module, "EXAMPLES"):
                item.module.EXAMPLES = 3
