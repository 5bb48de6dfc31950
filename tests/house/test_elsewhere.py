"""Every public name of NumPy is here, or `minigrad.elsewhere` says what to use instead.

So is every public function of `torch.nn.functional`.
"""

import json
import operator
import re
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import elsewhere
from minigrad.nn import functional

# What has the names of a library here, and the library itself.
HERE = {
    "minigrad": mg,
    "minigrad.fft": mg.fft,
    "minigrad.linalg": mg.linalg,
    "minigrad.random": mg.random,
    "minigrad.Tensor": mg.Tensor,
    "minigrad.nn.functional": functional,
    "minigrad.nn": mg.nn,
    "minigrad.nn.utils": mg.nn.utils,
}
THERE = {
    "numpy": np,
    "numpy.fft": np.fft,
    "numpy.linalg": np.linalg,
    "numpy.random": np.random,
    "numpy.ndarray": np.ndarray,
}


def pairs():
    """(where a name is looked for, the library that it may come from)"""
    return [
        (place, library) for place, found in elsewhere.PLACES.items() for library in found
        if library in THERE
    ]  # fmt: skip


@pytest.mark.parametrize(("place", "library"), pairs())
def test_every_name_is_here_or_elsewhere(place, library):
    public = [name for name in dir(THERE[library]) if not name.startswith("_")]
    answers = elsewhere.SECTIONS[library]
    assert [n for n in public if not hasattr(HERE[place], n) and n not in answers] == []


@pytest.mark.parametrize(("place", "library"), pairs())
def test_no_name_is_both_here_and_elsewhere(place, library):
    here = [name for name in elsewhere.SECTIONS[library] if hasattr(HERE[place], name)]
    assert here == [], "the dictionary has names that are here by now"


@pytest.mark.parametrize("place", HERE)
def test_what_is_missing_is_told(place):
    holder = mg.ones(2) if place == "minigrad.Tensor" else HERE[place]
    for library in elsewhere.PLACES[place]:
        for name, answer in elsewhere.SECTIONS[library].items():
            with pytest.raises(AttributeError) as caught:
                getattr(holder, name)
            assert str(caught.value).endswith(answer)
            assert f"{place} has no '{name}' ({library}.{name})" in str(caught.value)
    with pytest.raises(AttributeError, match=f"{place} has no 'nonsense'"):
        _ = holder.nonsense


def test_the_dictionary_is_read_when_a_name_is_missing_and_not_before():
    code = (
        "import json, sys, minigrad as mg; mg.ones(2).sum(); before = 'minigrad.elsewhere' in "
        "sys.modules; hasattr(mg, 'nonsense'); "
        "print(json.dumps([before, 'minigrad.elsewhere' in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == [False, True]


# ------------------------------------------------------------------------------------ PyTorch

# Every public function of `torch.nn.functional`, of PyTorch 2.13.
TORCH_FUNCTIONAL = """
    Callable DType Optional ScalingType SwizzleType Tensor adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool1d_with_indices
    adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d
    adaptive_max_pool3d_with_indices affine_grid alpha_dropout assert_int_or_pair avg_pool1d
    avg_pool2d avg_pool3d batch_norm bilinear binary_cross_entropy
    binary_cross_entropy_with_logits boolean_dispatch celu celu_ channel_shuffle conv1d conv2d
    conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d cosine_embedding_loss
    cosine_similarity cross_entropy ctc_loss dropout dropout1d dropout2d dropout3d elu elu_
    embedding embedding_bag feature_alpha_dropout fold fractional_max_pool2d
    fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices
    gaussian_nll_loss gelu glu grid_sample group_norm grouped_mm gumbel_softmax
    handle_torch_function hardshrink hardsigmoid hardswish hardtanh hardtanh_ has_torch_function
    has_torch_function_unary has_torch_function_variadic hinge_embedding_loss huber_loss
    instance_norm interpolate kl_div l1_loss layer_norm leaky_relu leaky_relu_ linear
    linear_cross_entropy local_response_norm log_softmax logsigmoid lp_pool1d lp_pool2d
    lp_pool3d margin_ranking_loss max_pool1d max_pool1d_with_indices max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool1d max_unpool2d
    max_unpool3d mish mse_loss multi_head_attention_forward multi_margin_loss
    multilabel_margin_loss multilabel_soft_margin_loss native_channel_shuffle nll_loss normalize
    one_hot pad pairwise_distance pdist pixel_shuffle pixel_unshuffle poisson_nll_loss prelu
    relu relu6 relu_ rms_norm rrelu rrelu_ scaled_dot_product_attention scaled_grouped_mm
    scaled_mm selu selu_ sigmoid silu smooth_l1_loss soft_margin_loss softmax softmin softplus
    softshrink softsign tanh tanhshrink threshold threshold_ triplet_margin_loss
    triplet_margin_with_distance_loss unfold upsample upsample_bilinear upsample_nearest
"""


def test_every_function_of_torch_is_here_or_told():
    names = set(TORCH_FUNCTIONAL.split())
    here = {name for name in names if hasattr(functional, name)}
    assert names - here == set(elsewhere.TORCH_FUNCTIONAL)
    assert {name for name in here if callable(getattr(functional, name))} == here


@pytest.mark.peer
def test_the_list_of_torch_is_that_of_torch():
    torch = pytest.importorskip("torch")
    there = torch.nn.functional
    names = {n for n in dir(there) if not n.startswith("_") and callable(getattr(there, n))}
    assert names <= set(TORCH_FUNCTIONAL.split())


@pytest.mark.peer
@pytest.mark.parametrize("library", [name for name in elsewhere.SECTIONS if "torch" in name])
def test_what_is_told_of_torch_is_there(library):
    pytest.importorskip("torch")
    module = operator.attrgetter(library.removeprefix("torch."))
    there = __import__("torch") if library == "torch" else module(__import__("torch"))
    unknown = [name for name in elsewhere.SECTIONS[library] if not hasattr(there, name)]
    assert unknown == []


@pytest.mark.parametrize("library", [name for name in elsewhere.SECTIONS if "torch" in name])
def test_what_is_recommended_exists(library):
    homes = {"mg": mg, "F": functional, "nn": mg.nn, "x": mg.ones(2), "minigrad": mg}
    found = 0
    for answer in elsewhere.SECTIONS[library].values():
        for home, path in re.findall(
            r"\b(mg|F|nn|x|minigrad)\.([a-z_A-Z0-9.]*[a-zA-Z0-9_])", answer
        ):
            operator.attrgetter(path)(homes[home])
            found += 1
    assert found or library == "torch.linalg"


def test_a_person_who_brings_code_from_torch_is_told():
    with pytest.raises(AttributeError, match=r"mg\.concatenate"):
        _ = mg.cat
    with pytest.raises(AttributeError, match=r"x\.reshape"):
        mg.ones(6).view(2, 3)
    with pytest.raises(AttributeError, match=r"grid_sample.*F\.interpolate"):
        _ = functional.grid_sample
    with pytest.raises(TypeError, match="there is no argument 'dim'; it is called axis here"):
        mg.softmax(mg.ones(3), dim=0)
    with pytest.raises(TypeError, match="'inplace'; nothing is changed in place"):
        functional.relu(mg.ones(3), inplace=True)


@pytest.mark.parametrize("home", [mg, mg.nn, functional, mg.optim, mg.linalg, mg.fft, mg.data])
def test_dir_lists_what_is_public(home):
    """An editor completes from it; it has what is loaded when asked for, too."""
    assert set(home.__all__) <= set(dir(home))
    for name in dir(home):
        assert hasattr(home, name)
    assert not hasattr(home, "nosuch")


def test_dir_lists_what_is_loaded_later():
    assert {"Learner", "data", "jit", "learner", "testing"} <= set(dir(mg))
    assert "Generator" in dir(mg.nn)
