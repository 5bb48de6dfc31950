"""The book: ten chapters, each a file that runs."""
