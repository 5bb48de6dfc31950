"""Measurements, each verified first; see README.md in this folder."""
