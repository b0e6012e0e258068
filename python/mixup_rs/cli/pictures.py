"""The pictures that the commands mix: files of the user's, samples that a dependency ships, or patterns made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixup_rs.cli.fault import Fault
from mixup_rs.cli.progress import progress

#: The side of the pictures, in pixels: they are scaled and cropped to a square, so that they make a batch.
SIDE = 256


def read(paths: Iterable[Path]) -> np.ndarray:
    """The pictures of files as a batch, uint8 (n, 3, SIDE, SIDE). Raises Fault that names a file that is none."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise Fault("reading pictures needs Pillow: pip install 'mixup-rs[plot]'") from error

    def square(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as file:
                file.draft("RGB", (SIDE, SIDE))  # a large JPEG is decoded at a fraction of its size
                upright: Any = ImageOps.exif_transpose(file)
                if upright.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
                    upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
                return np.asarray(ImageOps.fit(upright.convert("RGB"), (SIDE, SIDE)))
        except IsADirectoryError as error:
            raise Fault(f"{path} is a folder: mixup-rs preview takes one") from error
        except FileNotFoundError as error:
            raise Fault(f"there is no file {path}") from error
        # Pillow's decoders raise many kinds of errors for what is damaged.
        except Exception as error:
            raise Fault(f"{path} cannot be read as an image: {error or type(error).__name__}") from error

    return np.stack([square(path) for path in paths]).transpose(0, 3, 1, 2)


def read_own(paths: Sequence[Path]) -> tuple[np.ndarray, list[str]]:
    """The pictures of the user, and their names."""
    if len(paths) < 2:
        raise Fault("expected two pictures or more, got 1")
    return read(progress(paths, "pictures read", len(paths))), [path.stem for path in paths]


def samples() -> tuple[np.ndarray, list[str]]:
    """Three pictures, uint8 (3, 3, SIDE, SIDE), and what they show."""
    try:
        from sklearn.datasets import load_sample_images

        china, flower = load_sample_images().images  # photographs of 427 x 640
    except ImportError:
        print("the pictures are made here: scikit-learn, which brings photographs, is not installed")
        return _patterns(), ["stripes", "rings", "checks"]
    squares = [_square(flower, top=70, left=180), _square(china, top=60, left=60), _square(china, top=100, left=340)]
    return np.stack(squares).transpose(0, 3, 1, 2), ["flower", "temple", "lake"]


def _square(photograph: np.ndarray, top: int, left: int) -> np.ndarray:
    return photograph[top : top + SIDE, left : left + SIDE]


def _patterns() -> np.ndarray:
    """Stripes, rings and checks, each in another colour: uint8 (3, 3, h, w)."""
    v, u = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    rings = np.cos(60 * np.hypot(u - 0.5, v - 0.5))
    checks = (np.floor(u * 8) + np.floor(v * 8)) % 2
    greys = np.stack([0.5 + 0.5 * np.sin(40 * u), 0.5 + 0.5 * rings, checks])
    colours = np.array([[1.0, 0.6, 0.2], [0.3, 0.7, 1.0], [0.5, 0.9, 0.4]])
    return (greys[:, None] * colours[:, :, None, None] * 255).astype(np.uint8)
