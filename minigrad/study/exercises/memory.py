"""Exercises of the chapter `memory`."""

from minigrad.study.exercises.checking import Exercise

EXERCISES: tuple[Exercise, ...] = ()
