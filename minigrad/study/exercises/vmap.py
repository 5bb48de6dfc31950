"""Exercises of the chapter `vmap`."""

from minigrad.study.exercises.checking import Exercise

EXERCISES: tuple[Exercise, ...] = ()
