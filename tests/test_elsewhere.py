"""Every public name of NumPy is here, or `minigrad.elsewhere` says what to use instead."""

import json
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import elsewhere

# What has the names of a library here, and the library itself.
HERE = {
    "minigrad": mg,
    "minigrad.fft": mg.fft,
    "minigrad.linalg": mg.linalg,
    "minigrad.random": mg.random,
    "minigrad.Tensor": mg.Tensor,
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
