"""Each optimizer's path against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.nn.optimizers import Adam, AdamW, Momentum, Nesterov, Sgd, flush_denormals


def path(optimizer, parameters, gradients, lr=0.1):
    points = []
    for gradient in gradients:
        optimizer.step(np.array([gradient]), lr)
        points.append(parameters.item())
    return points


def test_sgd_steps_by_rate_times_gradient():
    """Gradients 1 and 2 at rate 0.1 move 0.1, then 0.2."""
    p = np.zeros(1)
    assert path(Sgd(p, lr=1.0), p, [1.0, 2.0]) == pytest.approx([-0.1, -0.3])


def test_the_rate_given_to_step_counts_not_the_base_rate():
    """`lr` is what a schedule scales; `step` is told the rate of the moment."""
    p = np.zeros(1)
    optimizer = Sgd(p, lr=5.0)
    optimizer.step(np.ones(1), 0.25)
    assert p.item() == -0.25


def test_momentum_remembers_the_previous_gradient():
    """Two unit gradients at momentum 0.9 move 1.0, then 1.9 rates."""
    p = np.zeros(1)
    assert path(Momentum(p, lr=0.1, momentum=0.9), p, [1.0, 1.0]) == pytest.approx([-0.10, -0.29])


def test_nesterov_looks_one_step_ahead():
    """v = 1, then 1.9; it moves g + 0.9 v = 1.9, then 2.71 rates."""
    p = np.zeros(1)
    got = path(Nesterov(p, lr=0.1, momentum=0.9), p, [1.0, 1.0])
    assert got == pytest.approx([-0.19, -0.461])


def test_adam_by_hand():
    """Step 1 moves a whole rate. Gradients 1, 3: m/c1 = .39/.19, s/c2 = .009999/.001999."""
    p = np.zeros(1)
    got = path(Adam(p, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8), p, [1.0, 3.0])
    second = 0.1 * (0.39 / 0.19) / np.sqrt(0.009999 / 0.001999)
    assert got == pytest.approx([-0.1, -0.1 - second], rel=1e-6)


def test_adams_eps_stands_beside_the_corrected_root():
    """With eps 1 the first step is lr · g / (|g| + 1): eps is not scaled by the bias correction."""
    p = np.zeros(1)
    got = path(Adam(p, lr=0.1, beta1=0.9, beta2=0.999, eps=1.0), p, [4.0])
    assert got == pytest.approx([-0.1 * 4 / 5])


def test_adamw_decays_beside_the_gradient():
    """p = 2 shrinks by lr · decay · p = 0.1, and then Adam moves its own 0.1."""
    p = np.full(1, 2.0)
    optimizer = AdamW(p, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.5)
    assert path(optimizer, p, [1.0]) == pytest.approx([2 - 0.1 - 0.1])


ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@pytest.mark.parametrize(
    ("make", "sums"),
    [
        (lambda p: Momentum(p, lr=1, momentum=0.9), "velocity"),
        (lambda p: Nesterov(p, lr=1, momentum=0.9), "velocity"),
        (lambda p: Adam(p, lr=1, **ADAM), "gradients"),
    ],
)
def test_a_sum_that_has_decayed_to_denormals_becomes_0(make, sums):
    """One gradient, then 2,000 times none: no number is left between 0 and the smallest normal one.

    Without care the sum stays at 5 times the smallest float for ever (0.9 x 5, rounded, is 5),
    and a step of a network with rarely non-zero pixels takes half as long again.
    """
    optimizer = make(np.zeros(3, np.float32))
    optimizer.step(np.array([1, 0, -1e-6], np.float32), 0.1)
    with np.errstate(under="ignore"):
        for _ in range(2000):
            optimizer.step(np.zeros(3, np.float32), 0.1)
            size = np.abs(getattr(optimizer, sums))
            assert ((size == 0) | (size >= np.finfo(np.float32).tiny)).all()
    assert (size == 0).all()


def test_flushing_leaves_what_can_move_a_weight_alone():
    """In float32 what is above 1.2e-20 stays bit for bit, what is below becomes 0."""
    sums = np.array([1e-6, -1e-12, 1.3e-20, -1.1e-20, 1e-30, 1e-40, 0], np.float32)
    kept = sums[:3].copy()
    flush_denormals(sums)
    assert sums[:3].tobytes() == kept.tobytes()
    assert not sums[3:].any()


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda p: Sgd(p, lr=-1), "lr"),
        (lambda p: Sgd(p, lr=0), "lr"),
        (lambda p: Sgd(p, lr=float("nan")), "lr"),
        (lambda p: Sgd(p, lr=float("inf")), "lr"),
        (lambda p: Momentum(p, lr=1, momentum=1.0), "momentum"),
        (lambda p: Nesterov(p, lr=1, momentum=-0.1), "momentum"),
        (lambda p: Adam(p, lr=1, **ADAM | {"beta2": 1.0}), "beta2"),
        (lambda p: Adam(p, lr=1, **ADAM | {"eps": 0.0}), "eps"),
        (lambda p: AdamW(p, lr=1, **ADAM, weight_decay=-1), "weight_decay"),
    ],
)
def test_a_bad_number_is_refused_by_name(make, key):
    """Rule first, then the fact, beginning with the argument's name."""
    with pytest.raises(ValueError, match=f"^{key} .* must hold, got {key}="):
        make(np.zeros(1))
