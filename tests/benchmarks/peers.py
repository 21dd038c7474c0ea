"""Other libraries training the same network on the same images, each in its best form.

A contender is a function of no arguments that trains `steps` iterations, with gathering, forward,
backward and update, and returns a loss: proof that it did the work. Where a library can hold the
images in more than one way, the faster one is measured here, first, and kept.
"""

from __future__ import annotations

import importlib.util
import time
import warnings

import numpy as np

RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3}
PIXEL = np.float32(1 / 255)


def installed():
    """The peers that can be imported here, by name."""
    modules = {
        "torch": ("torch", torch_eager),
        "torch.compile": ("torch", torch_compiled),
        "jax": ("jax", jax_scan),
        "scikit-learn": ("sklearn", scikit_learn),
    }
    return {
        name: make if importlib.util.find_spec(module) else None
        for name, (module, make) in modules.items()
    }


def _faster(forms):
    """The fastest of several ways to write the same thing, each called once to warm up."""
    seconds = {}
    for name, form in forms.items():
        form()
        started = time.process_time()
        form()
        seconds[name] = time.process_time() - started
    best = min(seconds, key=seconds.get)
    forms[best].form = best
    return forms[best]


def _torch_model(case):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    modules = []
    for fan_in, fan_out in case.shapes:
        modules += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    return torch, torch.nn.Sequential(*modules[:-1])


def _torch_pixels(torch, split):
    """Bytes, cast a batch at a time, or numbers made once."""
    whole = torch.from_numpy(np.array(split.images))
    return {
        "uint8": (whole, lambda x: x.float().mul_(PIXEL.item())),
        "float32": (whole.float().mul_(PIXEL.item()), lambda x: x),
    }


def torch_eager(case, split, steps):
    """Linear and ReLU modules, autograd, and the fused CPU optimizers."""

    def form(source, cast):
        torch, model = _torch_model(case)
        lr = RATES[case.optimizer]
        optimizer = {
            "sgd": lambda p: torch.optim.SGD(p, lr=lr, fused=True),
            "momentum": lambda p: torch.optim.SGD(p, lr=lr, momentum=0.9, fused=True),
            "adam": lambda p: torch.optim.Adam(p, lr=lr, fused=True),
        }[case.optimizer](model.parameters())
        labels = torch.from_numpy(np.array(split.labels))

        def run():
            order = torch.randperm(len(labels))[: steps * case.batch].view(steps, case.batch)
            for rows in order:
                x, y = cast(source.index_select(0, rows)), labels.index_select(0, rows)
                optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
            return loss.item()

        return run

    import torch

    pixels = _torch_pixels(torch, split)
    return _faster({name: form(*value) for name, value in pixels.items()})


def torch_compiled(case, split, steps):
    """One compiled graph a step: gather, loss, gradients by torch.func, update in place."""
    import torch

    torch._dynamo.reset()  # each case its own graphs, or their guards add up

    def form(source, cast):
        _, model = _torch_model(case)
        labels = torch.from_numpy(np.array(split.labels))
        params = [p.detach().clone() for p in model.parameters()]
        slots = [[torch.zeros_like(p) for p in params] for _ in range(2)]
        count = torch.zeros(())

        def loss_of(weights, x, y):
            for weight, bias in zip(weights[::2], weights[1::2], strict=True):
                x = torch.nn.functional.linear(x, weight, bias)
                if weight is not weights[-2]:
                    x = torch.relu(x)
            return torch.nn.functional.cross_entropy(x, y)

        def step(rows):
            x, y = cast(source.index_select(0, rows)), labels.index_select(0, rows)
            grads, loss = torch.func.grad_and_value(loss_of)(params, x, y)
            _torch_update(case.optimizer, params, grads, slots, count)
            return loss

        compiled = torch.compile(step, dynamic=False)

        def run():
            order = torch.randperm(len(labels))[: steps * case.batch].view(steps, case.batch)
            with torch.no_grad():
                for rows in order:
                    loss = compiled(rows)
            return loss.item()

        return run

    pixels = _torch_pixels(torch, split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's own compiler
        return _faster({name: form(*value) for name, value in pixels.items()})


def _torch_update(optimizer, params, grads, slots, count):
    lr = RATES[optimizer]
    if optimizer == "adam":
        count.add_(1)
        scale = lr * (1 - 0.999**count).sqrt() / (1 - 0.9**count)
        for p, g, m, s in zip(params, grads, *slots, strict=True):
            m.mul_(0.9).add_(g, alpha=0.1)
            s.mul_(0.999).addcmul_(g, g, value=0.001)
            p.sub_(scale * m / (s.sqrt() + 1e-8))
        return
    for p, g, v in zip(params, grads, slots[0], strict=True):
        if optimizer == "momentum":
            v.mul_(0.9).add_(g)
        p.sub_(v if optimizer == "momentum" else g, alpha=lr)


def jax_scan(case, split, steps):
    """All steps in one `lax.scan`, compiled once, with parameters and state donated."""
    import jax
    import jax.numpy as jnp

    lr = RATES[case.optimizer]
    labels = jnp.asarray(split.labels.astype(np.int32))
    rng = np.random.default_rng(0)

    def loss_of(params, x, y):
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        logits = x @ params[-1][0] + params[-1][1]
        picked = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=1) - picked).mean()

    def update(params, grads, state):
        mean, square, count = state
        if case.optimizer == "sgd":
            return jax.tree.map(lambda p, g: p - lr * g, params, grads), state
        if case.optimizer == "momentum":
            mean = jax.tree.map(lambda v, g: 0.9 * v + g, mean, grads)
            return jax.tree.map(lambda p, v: p - lr * v, params, mean), (mean, square, count)
        count += 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
        rate = lr * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        moved = jax.tree.map(
            lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-8), params, mean, square
        )
        return moved, (mean, square, count)

    def form(source, cast):
        def one(carry, rows):
            params, state = carry
            x, y = cast(source[rows]), labels[rows]
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            return update(params, grads, state), loss

        epoch = jax.jit(lambda carry, order: jax.lax.scan(one, carry, order), donate_argnums=0)
        params = [
            (jnp.asarray(rng.normal(0, (2 / i) ** 0.5, (i, o)), jnp.float32), jnp.zeros(o))
            for i, o in case.shapes
        ]
        used = case.optimizer != "sgd", case.optimizer == "adam"
        slots = [jax.tree.map(jnp.zeros_like, params) if use else () for use in used]
        carry = [(params, (*slots, jnp.zeros(())))]

        def run():
            order = rng.permutation(len(split.labels))[: steps * case.batch]
            carry[0], losses = epoch(carry[0], order.reshape(steps, case.batch).astype(np.int32))
            return float(losses[-1])

        return run

    images = np.array(split.images)
    return _faster(
        {
            "uint8": form(jnp.asarray(images), lambda x: x.astype(jnp.float32) * PIXEL),
            "float32": form(jnp.asarray(images * PIXEL), lambda x: x),
        }
    )


def scikit_learn(case, split, steps):
    """One `partial_fit` over all the iterations' images: it makes the batches itself."""
    from sklearn.neural_network import MLPClassifier

    if len(case.shapes) == 1:
        return None  # it has no network without a hidden layer
    model = MLPClassifier(
        hidden_layer_sizes=[units for _, units in case.shapes[:-1]],
        solver="adam" if case.optimizer == "adam" else "sgd",
        alpha=0,
        batch_size=case.batch,
        learning_rate_init=RATES[case.optimizer],
        momentum=0.9 if case.optimizer == "momentum" else 0.0,
        nesterovs_momentum=False,
        random_state=0,
    )
    images = split.images[: steps * case.batch] * PIXEL
    labels = split.labels[: steps * case.batch]

    def run():
        model.partial_fit(images, labels, classes=range(10))
        return model.loss_

    run.form = "float32"
    return run
