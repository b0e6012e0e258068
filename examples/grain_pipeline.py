"""Mixes in a Grain pipeline: `random_map` gives the Mixer a generator for each batch, from the pipeline's seed.

    python examples/grain_pipeline.py

The same seed gives the same mixes, with any number of threads that read. The images are made here.
"""

import grain
import numpy as np

from mixup_rs import CutMix, Mixer, Mixup, OneOf

SEED, N, BATCH, CLASSES = 0, 256, 32, 10
MIX = Mixer(OneOf([Mixup(0.4), CutMix(1.0)]), num_classes=CLASSES)


class Images:
    """A source: images of uint8 whose brightness is their class."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        label = index % CLASSES
        noise = np.random.default_rng(index).integers(0, 20, (32, 32, 3), np.uint8)
        return {"image": noise + np.uint8(20 * label), "label": label, "index": index}


def pipeline(seed, threads=2):
    batches = grain.MapDataset.source(Images()).shuffle(seed).batch(BATCH)
    # A generator is taken back after the call: what it draws must not be put off.
    mixed = batches.seed(seed).random_map(MIX)
    return mixed.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))


def main():
    for number, batch in enumerate(pipeline(SEED)):
        image, label = batch["image"], batch["label"]
        kept = label.max(1).mean()
        print(f"batch {number}: {image.shape} of {image.dtype}, {kept:.2f} of each label is its main class")
    first, again, other = (np.stack([batch["image"] for batch in pipeline(*args)]) for args in ((0, 1), (0, 4), (1, 4)))
    print(f"the same seed, other threads: {'the same' if np.array_equal(first, again) else 'others'}")
    print(f"another seed: {'the same' if np.array_equal(first, other) else 'others'}")


if __name__ == "__main__":
    main()
