"""Partners from another batch, for arrays of JAX."""

import jax.numpy as jnp
import numpy as np
from oracle import assert_same_bits, values

from mixup_rs import CutMix, Mixer, Mixup


def test_a_mixer_takes_another_batch_of_jax():
    x, z = values((5, 3, 8, 6), np.float32), values((7, 3, 8, 6), np.float32, seed=1)
    y, yz = np.array([0, 1, 2, 1, 0]), np.array([2, 2, 1, 0, 0, 1, 2])
    for rule in [Mixup(1.0), CutMix(mode="elem")]:
        plan = rule.plan(5, (8, 6), rng=(4, 1, 2), other=7)
        mix = Mixer(rule, num_classes=3, rng=4)
        image, label = mix((jnp.asarray(x), jnp.asarray(y)), key=(1, 2), other=(jnp.asarray(z), jnp.asarray(yz)))
        assert isinstance(image, jnp.ndarray)
        assert_same_bits(np.asarray(image), plan.apply(x, other=z))
        np.testing.assert_allclose(np.asarray(label), plan.apply_labels(y, 3, other=yz)[0], atol=1e-7)
