"""Measurements, each verified first. `python -m benchmarks.train_step` and so on."""
