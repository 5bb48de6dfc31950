"""Activations: functions of one element that networks bend their numbers with."""

__all__: list[str] = []
