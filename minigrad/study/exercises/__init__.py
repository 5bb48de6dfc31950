"""Exercises, and checkers that say what is wrong as a teacher would."""
