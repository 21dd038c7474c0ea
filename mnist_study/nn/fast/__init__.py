"""What only speed needs: how BLAS is fed, and what the first layer's products can leave out.

It has the names of `nn.feed`, its plain form. `network.py` alone imports it: with
`from mnist_study.nn import feed as fast` there, this folder can go, and nothing but speed is lost.
"""

from mnist_study.nn.fast.packed import PackedInput as Input
from mnist_study.nn.fast.tiles import TiledMatmul as Matmul
from mnist_study.nn.fast.tiles import output_buffer

__all__ = ["Input", "Matmul", "output_buffer"]
