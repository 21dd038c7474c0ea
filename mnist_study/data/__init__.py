"""Images and labels as arrays: train, validation and test.

Three sources agree on one `Dataset`: the embedded MNIST, a folder of IDX files, a tree of images,
one folder a class. What they read is kept in a cache folder that every process maps.
"""

from mnist_study.data.dataset import Dataset, Split, hold_out
from mnist_study.data.sources import idx, mnist, png

__all__ = ["Dataset", "Split", "hold_out", "idx", "mnist", "png"]
