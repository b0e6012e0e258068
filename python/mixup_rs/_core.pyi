# The docstrings are those of the compiled module: `python tools/stubs.py` writes them.
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Rng: TypeAlias = int | Sequence[int] | np.random.Generator | np.random.SeedSequence | None
_Mode: TypeAlias = Literal["elem", "pair", "batch"]
_Array = TypeVar("_Array", bound=NDArray[Any])

__all__ = [
    "CACHES",
    "DTYPES",
    "SIMD_LEVEL",
    "STREAM_VERSION",
    "MixPlan",
    "MixedBatch",
    "__version__",
    "check",
    "clear_cache",
    "collate",
    "draw",
    "get_num_threads",
    "mix_batch",
    "set_num_threads",
]

__version__: str
CACHES: tuple[int, int, int]
DTYPES: tuple[str, ...]
SIMD_LEVEL: str
STREAM_VERSION: int

class MixedBatch(NamedTuple):
    """What `mix_batch` returns.

    Attributes
    ----------
    x : numpy.ndarray
        The mixed batch.
    y : numpy.ndarray or None
        The mixed labels; class indices without `num_classes` as they came; None where none were given.
    y_partner : numpy.ndarray or None
        `y[partner]` for class indices without `num_classes`.
    lam : numpy.ndarray
        (n,) float64, the weight of each sample itself.
    partner : numpy.ndarray
        (n,) intp, the index of the sample that each is mixed with;
        (n, k - 1) with a rule of a `k` above 2.
    """
    x: NDArray[Any]
    y: NDArray[Any] | None
    y_partner: NDArray[Any] | None
    lam: NDArray[np.float64]
    partner: NDArray[np.intp]

class _LabelledBatch(MixedBatch):
    y: NDArray[Any]

@final
class MixPlan:
    """Who is mixed with whom, and how much: decided once, applied to any array whose axis 0 is the batch.

    ``mixed[i] = lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]``, mixup [1]_. A plan with boxes (`from_boxes`, or drawn
    by `CutMix` [2]_) blends each sample by a weight and then takes a box of it from its partner as it is; `lam` is then
    the weight times the share outside of the box. The box may hold the whole partner, resized (`ResizeMix`). A plan with
    masks (`from_masks`, or drawn by `FMix`) has a weight for each pixel, and `lam` is their mean. One of several partners
    (`from_weights`, or drawn by ``Mixup(k=3)``) makes weighted means of them.

    Parameters
    ----------
    lam : array_like
        (n,) floats in [0, 1], the weight of each sample itself, or one for all.
    partner : array_like
        (n,) integers in [0, n), the index of the sample that each is mixed with; repeats allowed.
    other : int, optional
        The number of samples of another batch: `partner` is in [0, other), and the plan is applied with that batch.

    Raises
    ------
    ValueError
        If a weight or an index is outside its range or the lengths differ.
    TypeError
        For other types.

    See Also
    --------
    Rule : What draws plans.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
    .. [2] Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
       arXiv 1905.04899.
    """
    def __new__(cls, lam: ArrayLike, partner: ArrayLike, other: int | None = None) -> MixPlan: ...
    @staticmethod
    def identity(n: int) -> MixPlan:
        """Return the plan that leaves every sample as it is.

        Parameters
        ----------
        n : int
            The number of samples, at least 0.

        Returns
        -------
        MixPlan
            A plan of `lam` 1 in which every sample is its own partner.

        Raises
        ------
        ValueError, TypeError
            If `n` is not an int of at least 0.
        """
    @staticmethod
    def from_boxes(
        boxes: ArrayLike,
        shape: Sequence[int],
        partner: ArrayLike,
        weight: ArrayLike = 1.0,
        resized: ArrayLike = False,
        other: int | None = None,
    ) -> MixPlan:
        """Return a plan of given boxes, which are taken from the partners: spans of time, rectangles or cuboids.

        Parameters
        ----------
        boxes : array_like
            (n, 2 * d) integers, a half-open box per sample: the starts along d = 1, 2 or 3 spatial axes, then the ends,
            such as y0, x0, y1, x1. A box of zeros is none.
        shape : sequence of int
            The lengths of a sample's d spatial axes: (length,), (height, width) or (depth, height, width).
        partner : array_like
            (n,) integers in [0, n); repeats allowed.
        weight : array_like, default 1.0
            (n,) floats in [0, 1], or one for all: the weight of each sample itself outside of its box.
        resized : array_like, default False
            (n,) booleans, or one for all: whether a box holds the whole partner, resized, instead of the same part of it.
            Along two axes.
        other : int, optional
            As for `MixPlan`.

        Returns
        -------
        MixPlan
            A plan whose `lam` is `weight` times the share of the sample outside of its box.

        Raises
        ------
        ValueError
            If a box is not within `shape`, or a number is outside its range.
        TypeError
            For other types.

        Notes
        -----
        Resized pixels are what ``torch.nn.functional.interpolate(mode="bilinear")`` gives, with its defaults: corners not
        aligned, no antialiasing. Integers are rounded to the nearest. Integers of 32 bits and more, booleans and whatever
        else cannot be blended are those of the nearest pixel (``mode="nearest-exact"``).
        """
    @staticmethod
    def from_masks(
        masks: ArrayLike, partner: ArrayLike, shape: Sequence[int] | None = None, other: int | None = None
    ) -> MixPlan:
        """Return a plan of given masks: of saliency or attention, of segmentation, or of any shape.

        Parameters
        ----------
        masks : array_like
            The share of each sample itself in each of its pixels: booleans, uint8 (255 is all) or floats in [0, 1]. Shape
            (height, width) for all samples or (n, height, width); of other axes see `shape`. It is copied.
        partner : array_like
            (n,) integers in [0, n); repeats allowed.
        shape : sequence of int, optional
            The lengths of a sample's one to three spatial axes. Then masks are of this shape for all samples, or have it
            behind the axis of the batch. By default masks of one and two axes are for all samples, and of three and four
            one for each.
        other : int, optional
            As for `MixPlan`.

        Returns
        -------
        MixPlan
            A plan whose `lam` is the mean of each mask.

        Raises
        ------
        ValueError
            If a share or an index is outside its range, or for another shape.
        TypeError
            For other types.

        See Also
        --------
        from_boxes : A plan of boxes.
        FMix, GridMix, SmoothMix : Rules that draw masks.
        """
    @staticmethod
    def from_weights(weights: ArrayLike, partner: ArrayLike) -> MixPlan:
        """Return a plan that mixes several samples at a time: weighted means of each and its partners.

        ``mixed[i] = weights[i, 0] * x[i] + weights[i, 1] * x[partner[i, 0]] + weights[i, 2] * x[partner[i, 1]] + ...``

        Class indices become soft targets, with `num_classes`: pairs of targets, boxes and
        keypoints, partners from another batch and choices of rules need plans of one partner.

        Parameters
        ----------
        weights : array_like
            (n, k) floats in [0, 1], k from 2 to 16: the weight of each sample itself, then those of its partners. Those of a
            sample sum to 1; where a sum is off by up to 1e-6, they are divided by it.
        partner : array_like
            (n, k - 1) integers in [0, n); repeats allowed. With a k of 2 also (n,).

        Returns
        -------
        MixPlan
            A plan whose `lam` is the first column of `weights`. With a k of 2 it is ``MixPlan(lam, partner)``.

        Raises
        ------
        ValueError
            If a number is outside its range, weights do not sum to 1, or the shapes differ.
        TypeError
            For other types.

        See Also
        --------
        Mixup : With ``k=3`` it draws such plans.

        Notes
        -----
        A weight of 1 leaves that sample bit for bit, and what has no weight is not read: its NaNs do not leak. Equal values stay
        as they are, and no mean is outside of what it is of.
        """
    @property
    def lam(self) -> NDArray[np.float64]:
        """The weight of each sample's own label: what remains of it, unless `with_label_lam` gave another. (n,) float64, a copy."""
    @property
    def weight(self) -> NDArray[np.float64]:
        """The weight of each sample outside of its box or mask, of all of it where there are neither: (n,) float64, a copy."""
    @property
    def partner(self) -> NDArray[np.intp]:
        """The index of the sample that each is mixed with: (n,) intp, a copy; (n, k - 1) where `k` is above 2."""
    @property
    def k(self) -> int:
        """The number of samples that are mixed at a time: 2, unless `from_weights` or a rule with an option `k` says more."""
    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of each sample's own label, `lam`, and of those of its partners: (n, k) float64, a copy."""
    @property
    def other(self) -> int | None:
        """The number of samples of the other batch that partners come from; None if they are samples of the batch itself."""
    @property
    def boxes(self) -> NDArray[np.intp] | None:
        """The boxes, resized ones too, starts then ends: (n, 2 * d) intp, a copy; None for a plan without regions, or with masks."""
    @property
    def masks(self) -> NDArray[np.float64] | None:
        """The share of each sample itself in each pixel: (n, ...) float64; None for a plan without masks.

        A plan of `OneOf` with masks and other regions has all of them here: a box as 0, and the weight outside of it.
        """
    @property
    def patches(self) -> np.ndarray | None:
        """The boxes that hold the whole partner, resized: (n, 4) intp, zeros for samples without; None if no sample has one."""
    @property
    def takes_nearest(self) -> bool:
        """Whether partners are resized by their nearest pixels, as `for_classes` says."""
    @property
    def only_copies(self) -> bool:
        """Whether the plan has regions and only copies, in them and outside: then it is applied to elements of any dtype."""
    @property
    def spatial_shape(self) -> tuple[int, ...] | None:
        """The lengths of a sample's spatial axes; None for a plan without regions."""
    def for_classes(self) -> MixPlan:
        """Return the plan for masks of classes, which must not be averaged.

        The fronts use it for targets that are masks. In `apply`, integers of 32 bits and more take the nearest pixels by any
        plan.

        Returns
        -------
        MixPlan
            The same plan, but what it would blend stays the sample's own, and it resizes partners by their nearest pixels.
        """
    def with_label_lam(self, lam: ArrayLike) -> MixPlan:
        """Return the plan with other weights of labels: pixels keep theirs.

        Targets that are cut with the input, because they have its spatial shape, follow its pixels.

        Parameters
        ----------
        lam : array_like
            (n,) floats in [0, 1], or one for all: the weight of each sample's own label.

        Returns
        -------
        MixPlan
            The same plan with this `lam`.

        Raises
        ------
        ValueError, TypeError
            If `lam` is not as described.

        See Also
        --------
        Remix : A rule that draws such plans.
        """
    def for_labels(self) -> MixPlan:
        """Return the plan for labels: every one blended by `lam` as a whole.

        Returns
        -------
        MixPlan
            The same `lam` and `partner`, without boxes and masks. `apply_labels` uses it.
        """
    def without_region(self) -> MixPlan:
        """Return the plan for what has no such spatial axes: every sample blended as a whole.

        Returns
        -------
        MixPlan
            The same `lam`, `partner` and `other`, without boxes and masks. Its `weight` is what remains of each sample.
        """
    def apply(
        self,
        x: _Array,
        out: _Array | None = None,
        spatial_axes: Sequence[int] | None = None,
        other: _Array | None = None,
    ) -> _Array:
        """Mix an array.

        Parameters
        ----------
        x : numpy.ndarray
            Shape (n, ...), dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8, uint16 or int16; if
            the plan has boxes or masks and blends nothing, any dtype. It is not copied, and not written to unless it is
            `out`.
        out : numpy.ndarray, optional
            An array of the shape and dtype of `x` to write to, or `x` itself to mix in place. It may overlap `x` in any
            way, unless `k` is above 2.
        spatial_axes : sequence of int, optional
            The axes of `x` that boxes and masks are along; by default the last ones.
        other : numpy.ndarray, optional
            The batch that partners come from, if the plan has an `other`: so many samples like those of `x`, not copied.

        Returns
        -------
        numpy.ndarray
            `out`, or a new array in the memory layout of `x`.

        Raises
        ------
        ValueError, TypeError
            Before anything is written, if an argument is not as described.
        """
    @overload
    def apply_labels(
        self, y: ArrayLike, num_classes: int, label_smoothing: float = 0.0, other: ArrayLike | None = None
    ) -> tuple[NDArray[Any], None]:
        """Mix labels.

        Parameters
        ----------
        y : array_like
            Floats of shape (n, ...) are blended by `lam`. Integers of shape (n,) are class indices: float32 soft
            targets of shape (n, num_classes) with `num_classes`, else returned as they are, beside those of the
            partners: the paper's (y_a, y_b, lam). Integers 0 and 1 of shape (n, num_classes) and booleans of shape
            (n, k) are several labels at once, blended as float32.
        num_classes : int, optional
            At least 1; class indices must be in [0, num_classes).
        label_smoothing : float, default 0.0
            s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
        other : array_like, optional
            The labels of the batch that partners come from, if the plan has an `other`: like `y`, one for each sample.

        Returns
        -------
        tuple of (numpy.ndarray, numpy.ndarray or None)
            The mixed labels and None, or class indices and those of the partners.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
    @overload
    def apply_labels(
        self,
        y: ArrayLike,
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
        other: ArrayLike | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]: ...
    def apply_boxes(
        self,
        boxes: Sequence[Any],
        labels: Sequence[Any],
        min_visible: float = 0.1,
        other: tuple[Sequence[Any], Sequence[Any]] | None = None,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Mix the boxes of objects.

        A mixed sample has its own boxes, then its partner's, as far as they are visible: all where the plan blends, and
        where it cuts, its own outside of the region and the partner's inside. A box that is partly hidden becomes the
        smallest one that holds its visible part. A sample that is not mixed keeps its boxes bit for bit.

        Parameters
        ----------
        boxes : sequence of arrays
            An entry for each sample, of NumPy, torch or another library: (k, 4) floats or integers x0, y0, x1, y1 in
            pixels; or torchvision's `BoundingBoxes`, of another format too.
        labels : sequence of arrays
            An entry for each sample: (k, ...), a row for each box.
        min_visible : float, default 0.1
            In [0, 1]: a box stays if at least this part of its area in the image is visible.
        other : (sequence, sequence), optional
            The boxes and the labels of the batch that partners come from, if the plan has an `other`.

        Returns
        -------
        tuple of (list, list, list)
            Boxes, labels and (k,) float32 weights: the mean share of a box's sample in its visible pixels, as `lam`.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or the plan cuts samples of other than two axes.
        """
    def apply_keypoints(
        self,
        points: Sequence[Any],
        labels: Sequence[Any] | None = None,
        other: tuple[Sequence[Any], Sequence[Any] | None] | None = None,
    ) -> tuple[list[Any], list[Any] | None, list[Any]]:
        """Mix keypoints.

        Parameters
        ----------
        points : sequence of arrays
            An entry for each sample: (k, 2) points x, y in pixels, or (k, p, 2) instances of points; with a third number
            behind x and y, it is 0 for points that are not labelled.
        labels : sequence of arrays, optional
            An entry for each sample: (k, ...), a row for each point or instance.
        other : (sequence, sequence or None), optional
            The points and the labels of the batch that partners come from, if the plan has an `other`.

        Returns
        -------
        tuple of (list, list or None, list)
            The points of each sample itself, then its partner's; their labels; and float32 weights, (k,) or (k, p): the
            share of the point's sample in its pixel. Hidden points are left out; in instances they have the weight 0, and
            the third number 0, while another point of the instance is visible.

        Raises
        ------
        ValueError, TypeError
            As `apply_boxes`.
        """
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@overload
def mix_batch(
    x: NDArray[Any],
    y: None = None,
    *,
    alpha: float = 0.4,
    mode: _Mode = "elem",
    fold: bool = True,
    lam: ArrayLike | None = None,
    partner: ArrayLike | None = None,
    rule: Any = None,
    other: NDArray[Any] | None = None,
    num_classes: int | None = None,
    label_smoothing: float = 0.0,
    out: NDArray[Any] | None = None,
    spatial_axes: Sequence[int] | None = None,
    rng: _Rng = None,
) -> MixedBatch:
    """Mix a batch and its labels.

    `x[i]` becomes ``lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]``, and `y` alike: mixup, [1]_. It draws a `MixPlan`
    and applies it to both.

    Parameters
    ----------
    x : numpy.ndarray
        Shape (n, ...), dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8, uint16 or int16, any
        strides. It is not copied, and not written to unless it is `out`.
    y : array_like, optional
        Floats of shape (n, ...) are blended. Integers of shape (n,) are class indices: float32 soft targets of shape
        (n, num_classes) with `num_classes`, else returned as they are beside those of the partners. Integers 0 and 1 of
        shape (n, num_classes) and booleans of shape (n, k) are several labels at once, blended as float32.
    alpha : float, default 0.4
        lam ~ Beta(alpha, alpha); finite, 0 for no mixing.
    mode : {"elem", "pair", "batch"}, default "elem"
        A lam per sample; one that i and its partner share; one for the batch.
    fold : bool, default True
        lam := max(lam, 1 - lam), fastai's habit; False is the paper's.
    lam : array_like, optional
        Given weights instead of drawn ones, never folded: a float or (n,) floats in [0, 1]. Excludes `alpha`, `mode` and
        `fold`.
    partner : array_like, optional
        Given partners: (n,) integers in [0, n), repeats allowed. By default a random permutation.
    rule : Rule, optional
        Draws the plan instead of the five arguments above. Its regions are along `spatial_axes`.
    other : numpy.ndarray or (numpy.ndarray, array_like), optional
        Another batch that partners come from, with samples like those of `x`, more or fewer; with `y` the batch and its
        labels. `partner` then counts the samples of that batch: drawn, none repeats before all are partners.
    num_classes : int, optional
        At least 1; class indices must be in [0, num_classes).
    label_smoothing : float, default 0.0
        s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
    out : numpy.ndarray, optional
        An array of the shape and dtype of `x` to write to, or `x` itself to mix in place. It may overlap `x` in any
        way.
    spatial_axes : sequence of int, optional
        The axes of `x` that regions are along: by default the last two of three or more. They must be given where the
        shape of images looks as if channels came last.
    rng : None, int, sequence of int, numpy.random.Generator or numpy.random.SeedSequence
        None draws fresh entropy. An int or a sequence of ints, such as (seed, epoch, batch, rank), is a key. A
        Generator moves on, a SeedSequence does not.

    Returns
    -------
    MixedBatch
        A named tuple (x, y, y_partner, lam, partner).

    Raises
    ------
    ValueError, TypeError
        Before anything is written, if an argument is not as described.

    See Also
    --------
    MixPlan : Decide once, mix anything.
    Mixup : The rule behind `alpha`, `mode` and `fold`.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
    """
@overload
def mix_batch(
    x: NDArray[Any],
    y: ArrayLike,
    *,
    alpha: float = 0.4,
    mode: _Mode = "elem",
    fold: bool = True,
    lam: ArrayLike | None = None,
    partner: ArrayLike | None = None,
    rule: Any = None,
    other: tuple[NDArray[Any], ArrayLike] | None = None,
    num_classes: int | None = None,
    label_smoothing: float = 0.0,
    out: NDArray[Any] | None = None,
    spatial_axes: Sequence[int] | None = None,
    rng: _Rng = None,
) -> _LabelledBatch: ...
def collate(
    samples: Sequence[NDArray[Any]],
    plan: MixPlan,
    *,
    out: NDArray[Any] | None = None,
    normalize: tuple[ArrayLike, ArrayLike] | None = None,
    spatial_axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
) -> NDArray[Any]:
    """Stack samples into one new batch, mixed by a plan.

    Each sample is read, blended and written once.

    Parameters
    ----------
    samples : sequence of numpy.ndarray
        `len(plan)` arrays of one shape and of one dtype that `MixPlan.apply` blends. They are not written to. Those
        that are not in C order are copied.
    plan : MixPlan
        A plan for as many samples.
    out : numpy.ndarray, optional
        An array of shape (len(samples), ...) in C order to write to, which overlaps no sample.
    normalize : (mean, std), optional
        Numbers, or one per channel: uint8, uint16, float16, float32 or float64 samples become (mixed - mean) / std of
        dtype float32, or of the dtype of `out`: float32, float16 or bfloat16. The largest integer counts as 1. Computed
        in float64, rounded once.
    spatial_axes : sequence of int, optional
        The axes of the batch that the regions of the plan are along; by default the last ones.
    channel_axis : int, optional
        The axis of the batch that the channels of `normalize` are along; by default axis 1, or the last, that has so
        many.

    Returns
    -------
    numpy.ndarray
        The batch of shape (len(samples), ...): `out`, or a new array.

    Raises
    ------
    ValueError, TypeError
        Before anything is written, if an argument is not as described.

    See Also
    --------
    MixPlan.apply : Mix a batch that is stacked already.
    """
def draw(rule: Any, n: int, shape: Sequence[int] | None, labels: Any, rng: _Rng, other: int | None = None) -> MixPlan:
    """Draws a plan by a rule of this package. `mixup_rs.rules` documents the arguments."""
def check(rule: Any) -> None:
    """Checks the options of a rule of this package."""
def get_num_threads() -> int:
    """Return the number of threads a large batch is mixed on.

    Returns
    -------
    int
        What `set_num_threads` set in this process; else MIXUP_RS_NUM_THREADS, RAYON_NUM_THREADS or OMP_NUM_THREADS;
        else 1 in a worker of a torch DataLoader; else the number of processors that this process may use. Never more
        than those.

    See Also
    --------
    set_num_threads : Set it.
    """
def set_num_threads(num_threads: int) -> None:
    """Set the number of threads a large batch is mixed on, in this process.

    Results do not depend on it.

    Parameters
    ----------
    num_threads : int
        At least 1. More threads than processors count as the number of processors.

    Raises
    ------
    ValueError
        If `num_threads` is below 1.
    TypeError
        If it is not an int.

    See Also
    --------
    get_num_threads : The number in use.
    """
def clear_cache() -> None:
    """Return the memory that is kept for the next results to the system.

    A new result reuses the memory of an earlier one that has been freed. MIXUP_RS_CACHE_MB bounds how much is kept.
    """
