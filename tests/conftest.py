"""The order of the tests."""

LONG = ("test_standin.py", "test_kernels_and_formulas.py")


def pytest_collection_modifyitems(items):
    """Long tests first: last, they would keep one process busy after the others have ended."""
    items.sort(key=lambda item: item.path.name not in LONG)
