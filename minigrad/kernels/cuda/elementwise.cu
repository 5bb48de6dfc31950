// The kernels of chains are made by `elementwise.py`, of what is in `chains.cuh`.
