"""Products in tiles are products, in every memory order."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.nn.fast import tiles
from mnist_study.nn.fast.tiles import TiledMatmul, output_buffer, product

ORDERS = [(a, b, out) for a in "CF" for b in "CF" for out in "CF"]


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "tile"),
    [
        (150, 784, 10, 75),  # few columns: as many rows as BLAS multiplies in place
        (784, 150, 10, 112),  # the same layer's gradient
        (500, 784, 32, 25),
        (1500, 100, 100, 100),
        (32, 784, 100, 8),  # a small batch
        (150, 784, 100, None),  # 15 tiles of 10 rows take longer than one product
        (1500, 784, 100, None),
        (151, 784, 10, None),  # a prime
        (8, 5, 3, None),
    ],
)
def test_a_product_in_tiles_is_the_product(rows, inner, columns, tile):
    """In any memory order, written into `out` itself; float64 shows a wrong tile at once."""
    rng = np.random.default_rng(0)
    for order in ORDERS:
        a, b = rng.normal(size=(rows, inner)), rng.normal(size=(inner, columns))
        a, b = np.asarray(a, order=order[0]), np.asarray(b, order=order[1])
        out = np.full((rows, columns), np.nan, order=order[2])
        multiply = product(a, b, out)
        multiply()
        np.testing.assert_allclose(out, np.einsum("ri,ic->rc", a, b), rtol=1e-9, atol=1e-9)
        if order == ("C", "C", "C"):
            assert multiply.args[0].shape[-2] == (tile or rows)
        b += 1.0  # what is set up sees new contents
        multiply()
        np.testing.assert_allclose(out, np.einsum("ri,ic->rc", a, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fan_out", [3, 40, 600])
def test_a_layers_three_products_are_numpys(fan_out):
    """Narrow, plain and wide layers, with several buffers for each, used again and again."""
    rng = np.random.default_rng(0)
    matmul = TiledMatmul()
    flat, grad_flat = rng.normal(size=(2, 20 * fan_out))
    weight = matmul.weight_view(flat, 20, fan_out)
    grad_weight = matmul.weight_view(grad_flat, 20, fan_out)
    assert np.shares_memory(weight, flat)
    for size in (8, 24, 8, 24):
        x, y = rng.normal(size=(size, 20)), output_buffer(size, fan_out, np.float64)
        grad_y, grad_x = rng.normal(size=y.shape), np.empty_like(x)
        for _ in range(2):
            matmul.forward(x, weight, y)
            matmul.weight_gradient(x, grad_y, grad_weight)
            matmul.input_gradient(grad_y, weight, grad_x)
            np.testing.assert_allclose(y, x @ weight)
            np.testing.assert_allclose(grad_weight, x.T @ grad_y)
            np.testing.assert_allclose(grad_x, grad_y @ weight.T)
            x += 1
            weight *= 2


def test_wide_outputs_lie_unit_after_unit():
    """From 512 units on, as measured; below, image after image."""
    assert output_buffer(4, tiles.WIDE, np.float32).flags.f_contiguous
    assert output_buffer(4, tiles.WIDE - 1, np.float32).flags.c_contiguous
