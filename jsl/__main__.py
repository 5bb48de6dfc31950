"""`python -m jsl` is `jsl`."""

from jsl.cli import main

main()
