"""The network and its training, in NumPy.

Read `textbook.py` first: all of it in 150 plain lines. Then `layers`, `losses`, `network`,
`optimizers` and `training` do the same with memory used again, and `fast` says how BLAS is fed.
"""

from mnist_study.nn.layers import Activation, Dense, Layer, Relu, Sigmoid, Tanh
from mnist_study.nn.losses import CrossEntropy, Loss
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Adam, AdamW, Momentum, Nesterov, Optimizer, Sgd
from mnist_study.nn.training import Diverged, Event, evaluate, train

__all__ = ["Activation", "Adam", "AdamW", "CrossEntropy", "Dense", "Diverged", "Event", "Layer"]
__all__ += ["Loss", "Momentum", "Nesterov", "Network", "Optimizer", "Relu", "Sgd", "Sigmoid"]
__all__ += ["Tanh", "evaluate", "train"]
