"""Where regions lie: axes of a batch, its layouts in memory, and partners."""

import numpy as np

SHAPE = (6, 4, 5, 7, 3)
#: None: the last ones.
AXES = [None, (1,), (-1,), (2,), (1, 2), (-2, -1), (3, 1), (4, 2), (1, 2, 3), (2, 3, 4), (4, 1, 3), (-1, -3, -2)]
PARTNERS = {"permutation": [3, 0, 1, 2, 5, 4], "repeated": [2, 2, 4, 4, 0, 0]}


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 4, 1)).transpose(0, 4, 1, 2, 3)


LAYOUTS = {
    "C order": lambda x: x,
    "Fortran": np.asfortranarray,
    "channels last": channels_last,
    "mirrored": lambda x: x[..., ::-1],
    "all reversed": lambda x: x[::-1, ::-1, ::-1, ::-1, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=3)[:, :, :, ::2],
    "strided batch": lambda x: np.repeat(x, 3, axis=0)[::3],
    "cropped": lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 0), (2, 1)])[:, :, 1:-2, :, 2:-1],
    "batch axis inside": lambda x: np.ascontiguousarray(x.swapaxes(0, 2)).swapaxes(0, 2),
    "batch axis last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
}
