"""Trains a small network in JAX on mixed batches: the plan is drawn outside of the jitted step, and applied inside.

    python examples/jax_train.py

A plan is a pytree, so the step is compiled once. The images are made here: bars that lie, stand or lean.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mixup_rs import CutMix, Mixup, OneOf
from mixup_rs.jax import apply, apply_labels

SEED, SIZE, CLASSES, BATCH, EPOCHS = 0, 12, 4, 64, 12
RULE = OneOf([Mixup(0.4, mode="elem"), CutMix(1.0, mode="elem")], mode="elem")


def bars(n, rng):
    """Noisy images (n, 1, SIZE, SIZE) of a bar, and its direction."""
    y, at = rng.integers(0, CLASSES, n), rng.integers(2, SIZE - 2, n)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    along = np.stack([rows, columns, (rows + columns) // 2, (rows - columns) // 2 + SIZE // 2])
    x = (along[y] == at[:, None, None]) + 0.3 * rng.standard_normal((n, SIZE, SIZE))
    return x[:, None].astype(np.float32), y


def predict(params, x):
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


@jax.jit
def step(params, x, y, plan):
    x, (targets, _) = apply(plan, x), apply_labels(plan, y, CLASSES)

    def loss(params):
        return -(targets * jax.nn.log_softmax(predict(params, x))).sum(1).mean()

    value, grads = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda param, grad: param - 0.3 * grad, params, grads), value


def main():
    rng = np.random.default_rng(SEED)
    (x, y), (x_test, y_test) = bars(2048, rng), bars(512, rng)
    w1, w2 = rng.normal(0, 0.1, (SIZE * SIZE, 128)), rng.normal(0, 0.1, (128, CLASSES))
    params = jax.tree.map(jnp.float32, {"w1": w1, "b1": np.zeros(128), "w2": w2, "b2": np.zeros(CLASSES)})
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x)).reshape(-1, BATCH)
        for number, rows in enumerate(order):
            plan = RULE.plan(BATCH, (SIZE, SIZE), rng=(SEED, epoch, number))
            params, value = step(params, x[rows], y[rows], plan)
        right = float((predict(params, x_test).argmax(1) == y_test).mean())
        print(f"epoch {epoch}: loss {float(value):.3f}, {right:.1%} of the test set")


if __name__ == "__main__":
    main()
