"""Pooling and interpolation."""

from cases.case import Case

CASES: list[Case] = []

# What the table names under another name.
ALIASES: dict[str, str] = {}
