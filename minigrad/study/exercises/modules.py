"""Exercises of the chapter `modules`."""

from minigrad.study.exercises.checking import Exercise

EXERCISES: tuple[Exercise, ...] = ()
