"""The stand-in for what CuPy keeps beside its main module: see `cupy`."""
