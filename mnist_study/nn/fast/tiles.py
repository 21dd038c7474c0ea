"""How BLAS is fed: memory orders that suit it, and products in tiles that it takes as they lie.

Before a large product BLAS copies both matrices into an order of its own. Where few columns or few
rows share the copy it takes as long as the product; and up to a million multiply-adds OpenBLAS
(0.3, with AVX-512) multiplies the matrices where they lie. So such products go to it in tiles of
rows, by the rules below, found by measuring: 10 columns take half the time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from mnist_study.nn.layers import Array, Matmul

Product = Callable[[], Array]  # set up for its arrays, run at each step

IN_PLACE = 10**6  # multiply-adds
TILE = 112  # rows, at most
NARROW = 32  # columns
WIDE = 512  # columns, from which on BLAS wants other orders and more rows


def product(a: Array, b: Array, out: Array) -> Product:
    """Set up ``a @ b`` into `out`, to be called whenever the contents of `a` or `b` are new.

    Shapes: a (rows, inner), b (inner, columns), out (rows, columns).
    """
    (rows, inner), columns = a.shape, b.shape[1]
    most = min(TILE, rows, IN_PLACE // (inner * columns))
    tile = max((t for t in range(8, most + 1) if rows % t == 0), default=rows)
    worth = columns <= NARROW or (b.flags.c_contiguous and (tile >= 60 or rows <= 4 * tile))
    if tile < rows and worth:
        a, out = a.reshape(-1, tile, inner), out.reshape(-1, tile, columns)  # views
    return partial(np.matmul, a, b, out=out)


def output_buffer(batch: int, units: int, dtype: DTypeLike) -> Array:
    """Memory for a layer's outputs, (batch, units); wide ones lie unit after unit."""
    return np.empty((batch, units), dtype, "F" if units >= WIDE else "C")


class TiledMatmul(Matmul):
    """The products of a layer, set up once for each of the buffers that they work in."""

    def __init__(self) -> None:
        self._products: dict[tuple[int, int], Product] = {}
        self._kept: list[Array] = []  # so that no other array gets one of their ids

    def weight_view(self, flat: Array, fan_in: int, fan_out: int) -> Array:
        """Which index runs fastest in memory changes nothing but BLAS's time, as measured.

        A narrow weight is fastest output after output, as its outputs lie in the loss. A wide one
        gains some 4 % if the outputs lie unit after unit as well. In between the plain order wins.
        """
        if fan_out < NARROW or fan_out >= WIDE:
            return flat.reshape(fan_out, fan_in).T
        return flat.reshape(fan_in, fan_out)

    def forward(self, x: Array, weight: Array, y: Array) -> None:
        run = self._products.get((id(x), id(y))) or self._keep(x, y, product(x, weight, y))
        run()

    def weight_gradient(self, x: Array, grad_y: Array, grad_weight: Array) -> None:
        run = self._products.get((id(x), id(grad_weight)))
        run = run or self._keep(x, grad_weight, product(x.T, grad_y, grad_weight))
        run()

    def input_gradient(self, grad_y: Array, weight: Array, grad_x: Array) -> None:
        run = self._products.get((id(grad_y), id(grad_x)))
        run = run or self._keep(grad_y, grad_x, product(grad_y, weight.T, grad_x))
        run()

    def _keep(self, a: Array, out: Array, run: Product) -> Product:
        self._kept += [a, out]
        self._products[id(a), id(out)] = run
        return run
