"""A pytest plugin: fewer Hypothesis examples, where a module says their number in `EXAMPLES`.

The op table draws many examples on NumPy. The stand-in computes with NumPy too, so that a few show
whether a formula runs on a device.
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item.module, "EXAMPLES"):
            item.module.EXAMPLES = 3
