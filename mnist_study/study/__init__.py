"""A search as a whole: its MLflow runs, its champion and its figures."""
