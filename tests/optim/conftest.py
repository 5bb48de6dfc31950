"""What every test of an optimizer may ask for."""

import pytest

from minigrad import kernels


@pytest.fixture(params=["kernels", "formulas"])
def path(request, monkeypatch):
    """Adam by its kernel, where there is one for the backend in force, and by its formula."""
    if request.param == "formulas":
        monkeypatch.setattr(kernels, "_decision", False)
    return request.param
