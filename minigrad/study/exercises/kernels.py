"""Exercises of the chapter `kernels`."""

from minigrad.study.exercises.checking import Exercise

EXERCISES: tuple[Exercise, ...] = ()
