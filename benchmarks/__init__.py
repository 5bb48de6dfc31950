"""Measurements, each verified first: `python -m benchmarks`, or one: `python -m benchmarks.decode`."""
