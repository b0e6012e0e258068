# %% [markdown]
# # Deep dive
#
# This page is a script, `docs/learn/deep_dive.py`, which runs when the site is built: each number and each picture
# below is what its code made. In an editor that knows `# %%` cells it is a notebook to play with.
#
# Two photographs, which scikit-learn ships.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import mixup_rs
from mixup_rs import Mixup

temple, flower = (photo[100:324, 200:424] for photo in load_sample_images().images)
names = ["temple", "flower"]


def show(pictures, titles):
    """Pictures side by side."""
    _, places = plt.subplots(1, len(pictures), figsize=(1.6 * len(pictures), 1.9), squeeze=False)
    for axes, picture, title in zip(places[0], pictures, titles, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    plt.tight_layout()
    plt.show()


show([temple, flower], names)

# %% [markdown]
# ## What a network sees
#
# To a network an image is an array of numbers, and a label is an array too: a weight for each class, all of it on
# one.

# %%
print(temple.shape, temple.dtype, temple[0, 0])
labels = np.eye(2)
print(labels)

# %% [markdown]
# ## 60 % of one, 40 % of the other
#
# Mixup ([arXiv 1710.09412](https://arxiv.org/abs/1710.09412)) is a weighted mean, of the pixels and of the labels
# alike. By hand:

# %%
by_hand = 0.6 * temple + 0.4 * flower
label_by_hand = 0.6 * labels[0] + 0.4 * labels[1]
print(label_by_hand)

# %% [markdown]
# And by `mix_batch`, which mixes each sample of a batch with its partner. It keeps bytes as bytes, rounded to the
# nearest.

# %%
batch = np.stack([temple, flower])
mixed = mixup_rs.mix_batch(batch, labels, lam=0.6, partner=[1, 0])
print(mixed.x.dtype, mixed.y)
print("largest difference:", abs(mixed.x[0] - by_hand).max(), "levels")
show(mixed.x, [f"{own:.0%} temple, {other:.0%} flower" for own, other in mixed.y])

# %% [markdown]
# ## Every weight

# %%
weights = np.linspace(1, 0, 6)
show(
    [mixup_rs.mix_batch(batch, lam=lam, partner=[1, 0]).x[0] for lam in weights], [f"λ = {lam:.1f}" for lam in weights]
)

# %% [markdown]
# ## Where λ comes from
#
# λ is drawn from Beta(α, α). A small α leaves most samples nearly as they were, α = 1 makes every weight as likely
# as any other, a large α always mixes half and half. fastai folds: it takes the larger of λ and 1 − λ, so that the
# own sample has the larger share.

# %%
figure, places = plt.subplots(2, 6, figsize=(10, 3), sharex=True)
for column, alpha in enumerate([0.1, 0.2, 0.4, 1.0, 2.0, 8.0]):
    for axes, fold in zip(places[:, column], [False, True], strict=True):
        axes.hist(Mixup(alpha, fold=fold).plan(100_000, rng=42).lam, bins=50, range=(0, 1), density=True)
        axes.set_title(f"alpha = {alpha:g}{', folded' * fold}", fontsize=8)
        axes.set_yticks([])
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Other rules
#
# Mixup blends; CutMix takes a rectangle from the partner; FMix, GridMix and SmoothMix take other regions. The
# label's weight is always the share of the pixels. One pair under each rule:

# %%
from mixup_rs.plot import gallery  # noqa: E402

gallery(batch, class_names=names, labels=[0, 1])

# %% [markdown]
# ## Could it be applied to embeddings, or to tabular data?
#
# Yes: to whatever a weighted mean makes sense for. Words and categories have none, but their embeddings do: mix
# those, or a hidden layer (`RustManifoldMixUp`). Numbers in a table do too, once their columns are standardised.
#
# A linear classifier, trained on soft targets: on 32 principal components of handwritten digits, standing for an
# embedding, and on the 13 columns of a table of wines. 20 rows of each class are for training, the rest for testing.

# %%
from sklearn.datasets import load_digits, load_wine  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402


def accuracy(x, y, rule, seed):
    """The share of right answers on the rows that were not trained on."""
    order = np.random.default_rng(seed).permutation(len(x))
    training = np.concatenate([order[y[order] == label][:20] for label in np.unique(y)])
    testing = np.setdiff1d(order, training)
    classes = y.max() + 1
    weights = np.zeros((x.shape[1], classes), np.float32)
    for step in range(300):
        if rule is None:
            rows, targets = x[training], np.eye(classes)[y[training]]
        else:
            mixed = mixup_rs.mix_batch(x[training], y[training], rule=rule, num_classes=classes, rng=(seed, step))
            rows, targets = mixed.x, mixed.y
        scores = rows @ weights
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        weights -= 0.1 * (rows.T @ (shares - targets) / len(rows)).astype(np.float32)
    return (np.argmax(x[testing] @ weights, axis=1) == y[testing]).mean()


def standardised(x):
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)


digits, wine = load_digits(), load_wine()
data = {
    "embeddings": (standardised(PCA(32, random_state=0).fit_transform(digits.data)), digits.target),
    "tabular": (standardised(wine.data), wine.target),
}
for name, (x, y) in data.items():
    for rule in (None, Mixup(0.4)):
        found = np.array([accuracy(x, y, rule, seed) for seed in range(10)])
        print(f"{name:11} {rule or 'not mixed'!s:55} {found.mean():.3f} ± {found.std():.3f}")

# %% [markdown]
# ± is the spread over ten seeds. Where two rows differ by less than that, they are the same: a linear classifier has
# little to gain from mixup, and loses nothing. What it is for is a network that would otherwise learn its training
# samples by heart.
#
# ## An experiment
#
# Such a network: resnet18, trained on 300 handwritten digits and tested on the other 1497, from five seeds with each
# way to mix. `make experiment` trains them again, which takes minutes; this page draws the figures that it wrote.

# %%
import json  # noqa: E402
from pathlib import Path  # noqa: E402

experiment = json.loads(Path("docs/learn/experiment.json").read_text())
ways = {way: 100 * np.array(found) for way, found in experiment["accuracy"].items()}
print(experiment["machine"]["processor"], *(f"{name} {version}" for name, version in experiment["versions"].items()))

_, axes = plt.subplots(figsize=(8, 0.35 * len(ways) + 1))
for row, found in enumerate(ways.values()):
    axes.plot(found, [row] * len(found), "o", color="C0", alpha=0.5)
    axes.errorbar(found.mean(), row, xerr=found.std(ddof=1), fmt="k|", capsize=3)
axes.set_yticks(range(len(ways)), ways)
axes.invert_yaxis()
axes.set_xlabel("% of the test digits that are right: five seeds, their mean and spread")
plt.tight_layout()
plt.show()

plain = ways["nothing"]
for way, found in ways.items():
    spread = np.hypot(found.std(ddof=1), plain.std(ddof=1)) / np.sqrt(len(found))
    gain = found.mean() - plain.mean()
    verdict = "better" if gain > 2 * spread else "worse" if gain < -2 * spread else "the same"
    print(f"{way:34} {found.mean():.1f} ± {found.std(ddof=1):.1f}  {verdict if way != 'nothing' else ''}")

# %% [markdown]
# "The same" is a difference from nothing within twice its standard error. With torch's draws, `RustMixUp(rng="torch")`
# trains as fastai's MixUp does, seed by seed. Digits are small and centred, so rules that cut have little to hide in
# them: which rule is best is a question to your own data.
#
# Play with the weights, the rules and the keys in the [explorer](explorer.md), which runs the same core in this
# page.
