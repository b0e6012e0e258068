"""Trains a Keras model on mixed batches of a `PyDataset`, with the backend of JAX, torch or TensorFlow.

    KERAS_BACKEND=jax python examples/keras_dataset.py

The key of a batch is (epoch, index): Keras asks for the first batch twice where a model is not built yet, and several
threads ask for the others, so nothing may be counted. The images are made here: bars that lie, stand or lean.
"""

import keras
import numpy as np

from mixup_rs import CutMix, Mixer, Mixup, OneOf

SEED, SIZE, CLASSES, BATCH, EPOCHS = 0, 12, 4, 64, 8


def bars(n, rng):
    """Noisy images (n, SIZE, SIZE, 1) of a bar, and its direction."""
    y, at = rng.integers(0, CLASSES, n), rng.integers(2, SIZE - 2, n)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    along = np.stack([rows, columns, (rows + columns) // 2, (rows - columns) // 2 + SIZE // 2])
    x = (along[y] == at[:, None, None]) + 0.3 * rng.standard_normal((n, SIZE, SIZE))
    return x[..., None].astype(np.float32), y


class Mixed(keras.utils.PyDataset):
    """Batches of images and soft targets."""

    def __init__(self, x, y, **options):
        super().__init__(**options)
        self.x, self.y, self.epoch = x, y, 0
        rule = OneOf([Mixup(0.4), CutMix(1.0)])
        self.mix = Mixer(rule, num_classes=CLASSES, rng=SEED)

    def __len__(self):
        return len(self.x) // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return self.mix((self.x[rows], self.y[rows]), key=(self.epoch, index))

    def on_epoch_end(self):
        self.epoch += 1


def main():
    rng = np.random.default_rng(SEED)
    keras.utils.set_random_seed(SEED)
    train, (x_test, y_test) = Mixed(*bars(2048, rng), workers=2), bars(512, rng)
    layers = [keras.layers.Flatten(), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(CLASSES)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(train, epochs=EPOCHS, verbose=2)
    right = (model.predict(x_test, verbose=0).argmax(1) == y_test).mean()
    print(f"keras with {keras.backend.backend()}: {right:.1%} of the test set")


if __name__ == "__main__":
    main()
