"""Parsed module -> facts: the IR of every function and the headers of functions, classes and imports (`model`)."""
