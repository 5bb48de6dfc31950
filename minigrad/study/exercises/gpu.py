"""Exercises of the chapter `gpu`."""

from minigrad.study.exercises.checking import Exercise

EXERCISES: tuple[Exercise, ...] = ()
