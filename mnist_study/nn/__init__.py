"""The network and its training, in NumPy."""
