"""A digit classifier written by hand in NumPy, and the search for its best configuration."""

__version__ = "0.1.0"
