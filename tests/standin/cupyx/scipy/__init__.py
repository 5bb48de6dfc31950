"""The functions of SciPy."""
