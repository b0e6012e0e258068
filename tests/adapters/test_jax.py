"""Plans and Mixer on JAX arrays: against the kernel, the float64 oracle, and NumPy for equal values."""

import doctest
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import strategies as some
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_same_bits, mix_plan, name, patches, soft_targets, ulp, values
from rules import EXAMPLES, KINDS, draws_soft_masks, examples

import mixup_rs.jax
from mixup_rs import CutMix, FMix, Mixer, MixPlan, Mixup, OneOf, PairedTarget, SmoothMix
from mixup_rs.jax import TracedPlan, apply, apply_labels

N, SIZE = 6, (8, 10)
#: JAX has no 64 bits unless asked.
DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16, np.uint8, np.int8, np.uint16, np.int16]
each_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=repr)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=name)


def drawn(rule, n=N):
    return rule.plan(n, SIZE, rng=7)


def assert_near(got, x, plan):
    """Within the rounding of float32, and of the dtype; integers to nearest."""
    got, exact = np.asarray(got), mix_plan(x, plan)
    assert got.dtype == x.dtype
    other = x[plan.partner].astype(np.float64)
    largest = np.maximum(np.abs(x.astype(np.float64)), np.abs(other))
    for at, _, biggest in patches(x, plan):
        largest[at] = np.maximum(largest[at], biggest)
    tolerance = 4 * ulp(largest, np.float32)
    if x.dtype != np.float32:
        is_float = x.dtype in (np.float16, ml_dtypes.bfloat16)
        tolerance = tolerance + (0.51 * ulp(np.abs(exact), x.dtype.type) if is_float else 0.5)
    assert (np.abs(got.astype(np.float64) - exact) <= tolerance).all()


def test_the_examples_run():
    assert doctest.testmod(mixup_rs.jax) == (0, doctest.testmod(mixup_rs.jax).attempted)
    assert doctest.testmod(mixup_rs.jax).attempted > 5


@each_rule
@each_dtype
def test_on_the_cpu_the_kernel_mixes(rule, dtype):
    x, plan = values((N, 3, *SIZE), dtype), drawn(rule)
    got = apply(plan, jnp.asarray(x))
    assert isinstance(got, jax.Array)
    assert_same_bits(np.asarray(got), plan.apply(x))


@each_rule
@each_dtype
def test_under_jit(rule, dtype):
    x = np.random.default_rng(0).uniform(0, 100, (N, 3, *SIZE)).astype(dtype)
    plan = drawn(rule)
    assert_near(jax.jit(apply)(plan, x), x, plan)
    assert_near(jax.jit(lambda x: apply(plan, x))(x), x, plan)
    last = np.moveaxis(x, 1, -1)
    got = jax.jit(lambda plan, x: apply(plan, x, spatial_axes=(1, 2)))(plan, last)
    assert_near(np.moveaxis(np.asarray(got), -1, 1), x, plan)


@each_rule
def test_under_vmap(rule):
    x, plan = np.random.default_rng(0).random((4, N, 3, *SIZE), np.float32), drawn(rule)
    for got in (jax.vmap(lambda x: apply(plan, x))(x), jax.jit(jax.vmap(apply, (None, 0)))(plan, x)):
        for one, batch in zip(got, x, strict=True):
            assert_near(one, batch, plan)
    plans = [rule.plan(N, SIZE, rng=seed) for seed in range(4)]
    if len({str(jax.tree.structure(plan)) for plan in plans}) == 1:
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *plans)
        for one, batch, plan in zip(jax.vmap(apply)(stacked, x), x, plans, strict=True):
            assert_near(one, batch, plan)


@each_rule
@pytest.mark.parametrize("same", [False, True], ids=["random", "zeros"])
def test_gradients(rule, same):
    plan = drawn(rule)
    x = np.zeros((N, *SIZE), np.float32) if same else values((N, *SIZE), np.float16).astype(np.float32)
    up = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    for function in (lambda x: (apply(plan, x) * up).sum(), lambda x: (jax.jit(apply)(plan, x) * up).sum()):
        got = jax.grad(function)(jnp.asarray(x))
        if plan.patches is not None:
            direction = np.random.default_rng(2).standard_normal(x.shape)
            np.testing.assert_allclose((got * direction).sum(), (mix_plan(direction, plan) * up).sum(), rtol=1e-4)
            continue
        # Mixing is linear: its transpose, element by element.
        expected = np.zeros(x.shape)
        for i, j in enumerate(plan.partner):
            own = np.full(SIZE, plan.weight[i]) if plan.masks is None else plan.masks[i]
            if plan.boxes is not None:
                y0, x0, y1, x1 = plan.boxes[i]
                own[y0:y1, x0:x1] = 0
            expected[i] += own * up[i]
            expected[j] += (1 - own) * up[i]
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=name)
def test_nothing_leaks_and_what_is_kept_is_kept(dtype):
    x = np.array([[1, -0.0, 3], [np.nan, np.inf, -np.inf], [np.inf, np.inf, 2]]).astype(dtype)
    plan = MixPlan([1.0, 0.0, 0.5], [1, 0, 1])
    for got in (apply(plan, jnp.asarray(x)), jax.jit(apply)(plan, x)):
        got = np.asarray(got)
        assert_same_bits(got[0], x[0])
        assert_same_bits(got[1], x[0])
        assert np.isnan(got[2, 0])
        assert got[2, 1] == np.inf
        assert got[2, 2] == -np.inf
    grad = jax.grad(lambda x: jnp.nan_to_num(jax.jit(apply)(plan, x)[0]).sum())(jnp.asarray(x, jnp.float32))
    assert np.isfinite(grad).all()


def test_a_weight_near_one_keeps_its_share():
    """1 - lam is rounded, not lam: a partner of 1e9 times the size still counts."""
    x, plan = np.array([[1.0], [1e9]], np.float32), MixPlan([1 - 1e-9, 1e-9], [1, 0])
    assert_near(jax.jit(apply)(plan, x), x, plan)


@given(data=st.data(), seed=some.SEEDS)
def test_any_plan(data, seed):
    shape = data.draw(st.sampled_from([(5, 3, 4), (4, 2, 3, 4)]))
    plan, axes = data.draw(some.regions(shape))
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    got = jax.jit(lambda plan, x: apply(plan, x, spatial_axes=axes))(plan, x)
    exact = mix_plan(x, plan, axes)
    np.testing.assert_allclose(got, exact, atol=4 * float(ulp(np.abs(x).max().astype(np.float64), np.float32)))
    assert_same_bits(np.asarray(apply(plan, jnp.asarray(x), spatial_axes=axes)), plan.apply(x, spatial_axes=axes))


def test_float64():
    with jax.enable_x64(True):
        x, plan = values((N, 3, *SIZE), np.float64), drawn(Mixup())
        got = jax.jit(apply)(plan, jnp.asarray(x))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, plan.apply(x), rtol=1e-14)
        assert jax.jit(apply_labels, static_argnums=2)(plan, jnp.arange(N), N)[0].dtype == np.float32


def test_a_plan_is_a_pytree():
    plans = [examples(kind)[0].plan(N, SIZE, rng=seed) for kind in KINDS for seed in range(2)]
    plans += [plan.with_label_lam(np.linspace(0, 1, N)) for plan in plans[::5]]
    hot = np.eye(3)[np.arange(N) % 3].astype(np.float32)
    traced = jax.jit(lambda plan: (plan.lam, plan.partner, plan, plan.without_region()))
    for plan in plans:
        assert jax.tree.map(lambda leaf: leaf, plan) == plan
        lam, partner, inner, flat = traced(plan)
        np.testing.assert_allclose(lam, plan.lam, rtol=1e-6)
        assert np.array_equal(partner, plan.partner)
        assert isinstance(inner, TracedPlan)
        assert (len(inner), inner.spatial_shape, flat.spatial_shape) == (N, plan.spatial_shape, None)
        x = np.random.default_rng(0).random((N, 3, *SIZE), np.float32)
        assert_near(apply(inner, x), x, plan)
        assert_near(apply(flat, x), x, plan.without_region())
        np.testing.assert_allclose(apply_labels(inner, hot)[0], plan.apply_labels(hot)[0], atol=1e-6)
        np.testing.assert_allclose(apply_labels(flat, hot)[0], plan.apply_labels(hot)[0], atol=1e-6)
    compiled = jax.jit(lambda plan, x: apply(plan, x) + 1)
    for seed in range(5):
        compiled(Mixup().plan(N, rng=seed), jnp.zeros((N, 2)))
    assert compiled._cache_size() == 1, "another plan of the kind is no other program"


def test_boxes_beside_masks_come_back_as_masks():
    rule = OneOf([Mixup(), CutMix(mode="elem"), FMix(), SmoothMix(mode="elem")], mode="elem")
    x = np.random.default_rng(0).random((N, 3, *SIZE), np.float32)
    for plan in (rule.plan(N, SIZE, rng=seed) for seed in range(4)):
        restored = jax.tree.map(lambda leaf: leaf, plan)
        np.testing.assert_allclose(restored.lam, plan.lam, rtol=3e-16)
        assert_same_bits(restored.apply(x), plan.apply(x))


def test_what_only_copies_moves_anything():
    x = np.arange(N * 80, dtype=np.int32).reshape(N, *SIZE) + 2**30
    for plan in (rule.plan(N, SIZE, rng=1) for rule in EXAMPLES):
        if not plan.only_copies:
            continue
        for array in (x, x > 2**30 + 100):
            expected = plan.apply(array)
            for got in (apply(plan, jnp.asarray(array)), jax.jit(apply)(plan, array)):
                assert_same_bits(np.asarray(got), expected)


@each_rule
def test_labels(rule):
    plan, y = drawn(rule), np.array([0, 1, 2, 3, 0, 1], np.int32)
    for function in (apply_labels, jax.jit(apply_labels, static_argnums=(2, 3))):
        own, partner = function(plan, jnp.asarray(y))
        assert_same_bits(np.asarray(own), y)
        assert_same_bits(np.asarray(partner), y[plan.partner])
        soft, none = function(plan, jnp.asarray(y), 4, 0.1)
        assert none is None
        assert soft.dtype == np.float32
        np.testing.assert_allclose(soft, soft_targets(y, plan.lam, plan.partner, 4, 0.1), atol=1e-6)
        for dense in (np.linspace(0, 1, 2 * N).astype(np.float32).reshape(N, 2), np.eye(4)[y].astype(bool)):
            np.testing.assert_allclose(
                function(plan, jnp.asarray(dense))[0],
                mix_plan(dense.astype(np.float32), plan.without_region()),
                atol=1e-6,
            )


def test_results_keep_their_values():
    """The kernel's memory is recycled, and JAX holds on to it."""
    plan = Mixup().plan(64, rng=1)
    x = np.random.default_rng(0).random((64, 3, 64, 64), np.float32)
    kept = [apply(plan, jnp.asarray(x + i)) for i in range(6)]
    for i, got in enumerate(kept):
        assert_same_bits(np.asarray(got), plan.apply(x + np.float32(i)))


@pytest.mark.parametrize("function", [apply, jax.jit(apply)], ids=["eager", "jit"])
def test_what_cannot_be_mixed_is_refused(function):
    plan = Mixup().plan(N, rng=1)
    for x in (jnp.arange(N), jnp.zeros(N, bool), jnp.zeros(N, jnp.complex64), jnp.float32(1)):
        with pytest.raises(TypeError, match="of floats or of integers of at most 16 bits"):
            function(plan, x)
    with pytest.raises(ValueError, match="the plan is for 6 samples"):
        function(plan, jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"8, 10"):
        function(CutMix().plan(N, SIZE, rng=1), jnp.zeros((N, 3, 9, 10)))
    for y, count in ((jnp.zeros((N, 3), int), 4), (jnp.zeros((5,), int), 4), (jnp.zeros(N), 4)):
        with pytest.raises((ValueError, TypeError)):
            (apply_labels if function is apply else jax.jit(apply_labels, static_argnums=2))(plan, y, count)


def test_without_jax_the_extra_is_named(run_python):
    code = """
import sys
sys.modules["jax"] = None
import mixup_rs
for name in ("mixup_rs.jax", None):
    try:
        __import__(name) if name else mixup_rs.jax
    except ModuleNotFoundError as error:
        print(error)
"""
    assert run_python(code) == "mixup_rs.jax needs jax: pip install 'mixup-rs[jax]'\n" * 2


# --- Mixer ---


@each_rule
@each_dtype
def test_mixer_gives_what_it_gives_for_numpy(rule, dtype):
    x, y = values((N, 3, *SIZE), dtype), np.arange(N) % 4
    mask = np.random.default_rng(0).integers(0, 5, (N, *SIZE), np.uint8)
    batch = {"image": x, "label": y, "target": y / 4, "tags": np.eye(4)[y] > 0, "name": ["a"] * N}
    options = {"rng": 1, "targets": ["label", "target", "tags"]}
    if not draws_soft_masks(rule, N, SIZE) and (rule.plan(N, SIZE, rng=0).boxes is None or dtype != np.float32):
        batch["mask"], options["targets"] = mask, [*options["targets"], "mask"]
    on_jax = {key: jnp.asarray(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}
    for key in (None, (1, 2)):
        ours, theirs = (Mixer(rule, **options)(given, key=key) for given in (batch, on_jax))
        assert theirs["name"] is batch["name"]
        for entry in set(batch) - {"name"}:
            pairs = [(ours[entry], theirs[entry])]
            if isinstance(ours[entry], PairedTarget):
                assert isinstance(theirs[entry], PairedTarget)
                pairs = list(zip(ours[entry], theirs[entry], strict=True))
            for one, other in pairs:
                assert isinstance(other, jax.Array)
                one, other = (np.asarray(array, np.float64) for array in (one, other))
                np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)
        assert_same_bits(np.asarray(theirs["image"]), ours["image"])


def test_what_jax_narrows_has_the_same_plan():
    x, y = np.random.default_rng(0).random((N, 4)), np.array([0, 3, 2, 2**30, 1, 1])
    assert_same = np.testing.assert_array_equal
    lam = Mixer(Mixup(), rng=1)((x, y))[1].lam
    assert_same(np.asarray(Mixer(Mixup(), rng=1)((jnp.asarray(x), jnp.asarray(y)))[1].lam), lam)
    assert_same(Mixer(Mixup(), rng=1)((x.astype(np.float32), y.astype(np.int32)))[1].lam, lam)
    tree = jax.tree.map(jnp.asarray, {"label": y, "image": x})
    assert_same(np.asarray(Mixer(Mixup(), rng=1)(tree)["label"].lam), lam)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32])
def test_masks_of_padded_batches_are_those_of_both(dtype):
    x, present = np.ones((N, 5, 2), np.float32), (np.arange(5) < np.arange(N)[:, None]).astype(dtype)
    batch = {
        "inputs_embeds": x,
        "attention_mask": present,
        "padding_mask": 1 - present if dtype is not bool else ~present,
    }
    expected = Mixer(Mixup(1.0), rng=1)(batch)
    mixed = Mixer(Mixup(1.0), rng=1)({name: jnp.asarray(value) for name, value in batch.items()})
    assert (expected["attention_mask"] != present).any()
    for role in ("attention_mask", "padding_mask"):
        assert isinstance(mixed[role], jax.Array)
        np.testing.assert_array_equal(np.asarray(mixed[role]), expected[role])


def test_mixer_keeps_the_device_and_pickles():
    device = jax.devices("cpu")[0]
    x = jax.device_put(jnp.ones((N, 4)), device)
    mix = pickle.loads(pickle.dumps(Mixer(Mixup(), num_classes=4, rng=1)))
    mixed, soft = mix((x, [0, 1, 2, 3, 0, 1]))
    assert mixed.devices() == soft.devices() == {device}
    pair = Mixer(Mixup(), rng=1)((x, jnp.arange(N)))[1]
    assert isinstance(jax.tree.map(lambda leaf: leaf, pair), PairedTarget)


@each_rule
def test_mixer_under_jit_with_a_key(rule):
    x = np.random.default_rng(0).random((N, 3, *SIZE), np.float32)
    mix = Mixer(rule, rng=1)
    got = jax.jit(lambda x: mix({"image": x, "id": 1}, key=2)["image"])(x)
    assert_near(got, x, rule.plan(N, SIZE, rng=(1, 2)))


def test_mixer_under_jit_makes_soft_targets():
    x, y = np.random.default_rng(0).random((N, 3), np.float32), np.array([0, 1, 2, 3, 0, 1])
    mix = Mixer(Mixup(), num_classes=4, label_smoothing=0.1, rng=1)
    got = jax.jit(lambda x, y: mix((x, y), key=2)[1])(x, y)
    np.testing.assert_allclose(got, Mixup().plan(N, rng=(1, 2)).apply_labels(y, 4, 0.1)[0], atol=1e-6)


@pytest.mark.parametrize(("rng", "key"), [(None, None), (1, None), (None, np.random.default_rng(0)),
                                          (1, np.random.default_rng(0))])  # fmt: skip
def test_mixer_under_jit_without_a_key_is_refused(rng, key):
    """It would draw once, when it is compiled, and mix each batch alike."""
    x, mix = jnp.ones((N, 3)), Mixer(Mixup(), rng=rng)

    def mixed(x):
        return mix(x, key=key)

    for function in (jax.jit(mixed), jax.jit(jax.vmap(mixed)), jax.jit(jax.grad(lambda x: mixed(x).sum()))):
        with pytest.raises(TypeError, match=r"within jax.jit one plan would be drawn for all calls.*key="):
            function(x)
    if rng is None:
        assert jax.grad(lambda x: mixed(x).sum())(x).shape == x.shape


def test_mixer_cannot_read_a_batch_within_a_transformation():
    x, mix = jnp.ones((N, 3)), Mixer(Mixup(), rng=1)
    for function in (jax.grad(lambda x: mix(x).sum()), jax.vmap(lambda x: mix(x[:, None]))):
        with pytest.raises(TypeError, match=r"what a batch holds cannot be read.*key="):
            function(x)
    assert jax.grad(lambda x: mix(x, key=1).sum())(x).shape == x.shape


def test_a_plan_is_a_static_argument():
    x = np.random.default_rng(0).random((N, *SIZE), np.float32)
    for plan in (examples(kind)[0].plan(N, SIZE, rng=1) for kind in KINDS):
        same = pickle.loads(pickle.dumps(plan))
        assert hash(same) == hash(plan)
        assert_near(jax.jit(apply, static_argnums=0)(plan, x), x, plan)


def test_plans_that_are_stacked_by_numpy():
    plans = [Mixup(1.0).plan(N, rng=i) for i in range(2)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *plans)
    assert isinstance(stacked, TracedPlan)
    x = np.random.default_rng(0).random((2, N, 3), np.float32)
    for got, plan, one in zip(jax.vmap(apply)(stacked, x), plans, x, strict=True):
        assert_near(got, one, plan)


def test_several_samples():
    x, plan = values((N, 3, 8), np.float32), Mixup(1.0, k=3).plan(N, rng=1)
    x = np.clip(x, -100, 100)
    assert_same_bits(np.asarray(apply(plan, jnp.asarray(x))), plan.apply(x))
    np.testing.assert_allclose(jax.jit(lambda x: apply(plan, x))(x), plan.apply(x), atol=1e-4)
    soft = apply_labels(plan, jnp.arange(N) % 4, 4)[0]
    assert_same_bits(np.asarray(soft), plan.apply_labels(np.arange(N) % 4, 4)[0])
    with pytest.raises(ValueError, match="close over it"):
        jax.jit(apply)(plan, x)
    with pytest.raises(ValueError, match=r"pair.*num_classes"):
        apply_labels(plan, jnp.arange(N) % 4)


@pytest.mark.parametrize("rule", [Mixup(1.0), CutMix(mode="elem"), examples(FMix)[1]], ids=repr)
def test_partners_from_another_batch(rule):
    x, z, plan = values((N, *SIZE), np.float32), values((3, *SIZE), np.float32, 1), rule.plan(N, SIZE, rng=1, other=3)
    x, z = np.clip(x, -100, 100), np.clip(z, -100, 100)
    expected = plan.apply(x, other=z)
    assert_same_bits(np.asarray(apply(plan, jnp.asarray(x), other=jnp.asarray(z))), expected)
    np.testing.assert_allclose(jax.jit(lambda x, z: apply(plan, x, other=z))(x, z), expected, atol=1e-4)
    grads = jax.grad(lambda z: apply(plan, x, other=z).sum())(jnp.asarray(z))
    shares = np.bincount(plan.partner, 1 - plan.lam, minlength=3) * np.prod(SIZE)
    np.testing.assert_allclose(grads.sum(axis=(1, 2)), shares, rtol=1e-4, atol=1e-3)
    y, yz = np.arange(N) % 3, np.array([2, 1, 0])
    for got in (apply_labels(plan, y, 3, other=yz), jax.jit(lambda y, yz: apply_labels(plan, y, 3, other=yz))(y, yz)):
        np.testing.assert_allclose(got[0], plan.apply_labels(y, 3, other=yz)[0], atol=1e-6)
    own, partner = apply_labels(plan, y, other=yz)
    assert (own.tolist(), partner.tolist()) == (y.tolist(), yz[plan.partner].tolist())
    for wrong in (None, z[:2], z[:, :1], z.astype(np.float16)):
        with pytest.raises(ValueError, match="other"):
            apply(plan, x, other=wrong)
    with pytest.raises(ValueError, match=r"the batch itself, got another batch of 3"):
        apply(rule.plan(N, SIZE, rng=1), x, other=z)
    with pytest.raises(ValueError, match="close over it"):
        jax.jit(apply)(plan, x)
