"""A Hydra sweeper that is a whole Optuna study: asynchronous workers, pruning, true resume."""
