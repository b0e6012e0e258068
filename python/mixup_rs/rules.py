"""How a batch is to be mixed: frozen rules, which draw plans and know no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mixup_rs.rule import CoreRule, Mode, Rule, frozen
from mixup_rs.salient import Peaks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mixup_rs.partners import Partners

__all__ = ["CutMix", "FMix", "GridMix", "Mixup", "OneOf", "ResizeMix", "Rule", "SmoothMix"]


@frozen
class Mixup(CoreRule):
    """Mixup: each sample is blended with its partner by lam ~ Beta(alpha, alpha), [1]_; with `k`, of several.

    Parameters
    ----------
    alpha : float, default 0.4
        Finite, 0 for no mixing.
    mode : {"elem", "pair", "batch"}, default "elem"
        A lam per sample; one that i and its partner share; one for the batch.
    fold : bool, default True
        lam := max(lam, 1 - lam), fastai's habit; False is the paper's.
    prob : float, default 1.0
        The probability with which each lam that is drawn is used; otherwise it is 1.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner stays as it is. By default a random permutation. Not with mode "pair".
    k : int, default 2
        The number of samples that are mixed at a time, at most 16. More than two have weights ~ Dirichlet(alpha, ...,
        alpha), of which `fold` gives the sample itself the largest, and which are used with `prob`. The partners of a
        sample differ from it and from each other, if the batch has `k` samples; `partners` instead chooses `k` - 1
        times, and may choose one again. Not with mode "pair", nor in `OneOf` and `Remix`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    OneOf : One rule of several.
    MixPlan : What a rule draws.
    MixPlan.from_weights : A plan of given weights of several samples.

    Notes
    -----
    The paper tried three samples and more, and found no further gain.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.

    Examples
    --------
    >>> from mixup_rs import Mixup
    >>> plan = Mixup(alpha=0.4).plan(4, rng=(42, 0))
    >>> plan == Mixup(alpha=0.4).plan(4, rng=(42, 0))
    True
    >>> plan.partner
    array([2, 1, 0, 3])
    >>> plan = Mixup(alpha=1.0, k=3).plan(2, rng=1)
    >>> plan.weights.shape, plan.partner.shape
    ((2, 3), (2, 2))
    """

    alpha: float = 0.4
    mode: Mode = "elem"
    fold: bool = True
    prob: float = 1.0
    partners: Partners | None = None
    k: int = 2
    _rule: ClassVar[str] = "Mixup"


@frozen
class CutMix(CoreRule):
    """CutMix: a box of each sample comes from its partner, [1]_.

    The box has the share 1 - a of the sample, a ~ Beta(alpha, alpha), and the sample's own shape; its centre is
    anywhere and it is clipped. `lam` is what is then left of the sample. Along one spatial axis the box is a span of
    time, along two a rectangle, along three a cuboid.

    Parameters
    ----------
    alpha : float, default 1.0
        Finite, 0 for no mixing.
    mode : {"batch", "elem", "pair"}, default "batch"
        One box for the batch; a box per sample; one that i and its partner share.
    minmax : (float, float), optional
        Each side of the box is drawn between these fractions of the sample's instead, and nothing is clipped.
    prob : float, default 1.0
        The probability with which each box that is drawn is used.
    saliency : array_like, optional
        Maps (n, height, width) of a batch, as `saliency` gives: boxes are centred at their partners' peaks, [2]_.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner stays as it is. By default a random permutation. Not with mode "pair".

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    OneOf : One rule of several.
    MixPlan : What a rule draws.

    References
    ----------
    .. [1] Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
       arXiv 1905.04899.
    .. [2] Uddin et al., "SaliencyMix: A Saliency Guided Data Augmentation Strategy", arXiv 2006.01791.

    Examples
    --------
    >>> from mixup_rs import CutMix
    >>> CutMix().plan(2, (8, 8), rng=1)
    MixPlan(lam=array([0.75, 0.75]), partner=array([0, 1]), boxes=array([[3, 2, 7, 6],
           [3, 2, 7, 6]]))
    """

    alpha: float = 1.0
    mode: Mode = "batch"
    minmax: tuple[float, float] | None = None
    prob: float = 1.0
    saliency: ArrayLike | Peaks | None = None
    partners: Partners | None = None
    _rule: ClassVar[str] = "CutMix"

    def __post_init__(self) -> None:
        self._freeze("minmax")
        if self.saliency is not None:
            object.__setattr__(self, "saliency", Peaks.of(self.saliency))
        super().__post_init__()


@frozen
class FMix(CoreRule):
    """FMix: each sample keeps the brightest part of an image of smooth noise, [1]_.

    The mask keeps a share lam ~ Beta(alpha, alpha) of the pixels, to the nearest whole number of them: shapes of any
    form, with rough edges. Along one spatial axis these are spans of time, along three bodies.

    Parameters
    ----------
    alpha : float, default 1.0
        Finite, 0 for no mixing.
    decay : float, default 3.0
        The waves of the noise have the amplitude of their frequency to the power -decay: the more, the smoother and the
        fewer the shapes. Finite, at least 0.
    soft : float, default 0.0
        In [0, 0.5]: the share of the pixels on either side of an edge which are blended.
    mode : {"batch", "elem", "pair"}, default "batch"
        One mask for the batch; a mask per sample; one that i and its partner share.
    prob : float, default 1.0
        The probability with which each mask that is drawn is used.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner stays as it is. By default a random permutation. Not with mode "pair".

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    OneOf : One rule of several.
    MixPlan.from_masks : A plan of given masks.

    Notes
    -----
    An axis whose length has a prime factor above 7 is cut from noise of the next length that has none.

    References
    ----------
    .. [1] Harris, Marcu, Painter, Niranjan, Prügel-Bennett and Hare, "FMix: Enhancing Mixed Sample Data Augmentation",
       arXiv 2002.12047.

    Examples
    --------
    >>> from mixup_rs import FMix
    >>> plan = FMix().plan(2, (8, 8), rng=1)
    >>> bool(plan.lam[0] == plan.masks[0].mean())
    True
    >>> bool(((plan.masks == 0) | (plan.masks == 1)).all())
    True
    """

    alpha: float = 1.0
    decay: float = 3.0
    soft: float = 0.0
    mode: Mode = "batch"
    prob: float = 1.0
    partners: Partners | None = None
    _rule: ClassVar[str] = "FMix"


@frozen
class GridMix(CoreRule):
    """GridMix: some cells of a grid come from the partner, [1]_.

    Each axis is divided into the same number of cells, drawn from `cells`. A share of them which is drawn from
    Beta(alpha, alpha) stays, rounded to whole cells, but at least one stays and one is taken. Any of them are as
    likely. `lam` is the share of the pixels that stay.

    Parameters
    ----------
    alpha : float, default 1.0
        Finite, 0 for no mixing.
    cells : (int, int), default (2, 6)
        The least and the largest number of cells along an axis, from 1 to 100.
    mode : {"batch", "elem", "pair"}, default "batch"
        One grid for the batch; a grid per sample; one that i and its partner share.
    prob : float, default 1.0
        The probability with which each grid that is drawn is used.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner stays as it is. By default a random permutation. Not with mode "pair".

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    OneOf : One rule of several.
    MixPlan.from_masks : A plan of given masks.

    Notes
    -----
    The paper adds a loss of the label of each cell. This is its way of mixing alone.

    References
    ----------
    .. [1] Baek, Bang and Shim, "GridMix: Strong regularization through local context mapping", Pattern Recognition 109,
       2021.

    Examples
    --------
    >>> from mixup_rs import GridMix
    >>> plan = GridMix(cells=(2, 2)).plan(2, (4, 6), rng=10)
    >>> plan.masks[0].astype(int)
    array([[1, 1, 1, 0, 0, 0],
           [1, 1, 1, 0, 0, 0],
           [0, 0, 0, 1, 1, 1],
           [0, 0, 0, 1, 1, 1]])
    >>> plan.lam
    array([0.5, 0.5])
    """

    alpha: float = 1.0
    cells: tuple[int, int] = (2, 6)
    mode: Mode = "batch"
    prob: float = 1.0
    partners: Partners | None = None
    _rule: ClassVar[str] = "GridMix"

    def __post_init__(self) -> None:
        self._freeze("cells")
        super().__post_init__()


@frozen
class SmoothMix(CoreRule):
    """SmoothMix: a round part of each sample comes from its partner, with soft edges, [1]_.

    The weight of the partner is a Gaussian bell with its peak, of 1, anywhere in the sample. Its standard deviation is
    a fraction of each side, uniform between the two of `sigma`. `lam` is the mean of what is left of the sample.

    Parameters
    ----------
    sigma : (float, float), default (0.25, 0.5)
        0 <= least <= most <= 1; (0, 0) for no mixing.
    mode : {"batch", "elem", "pair"}, default "batch"
        One bell for the batch; a bell per sample; one that i and its partner share.
    prob : float, default 1.0
        The probability with which each bell that is drawn is used.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner stays as it is. By default a random permutation. Not with mode "pair".

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    OneOf : One rule of several.
    MixPlan.from_masks : A plan of given masks.

    References
    ----------
    .. [1] Lee, Zaheer, Astrid and Lee, "SmoothMix: a Simple Yet Effective Data Augmentation to Train Robust
       Classifiers", CVPR Workshops 2020.

    Examples
    --------
    >>> from mixup_rs import SmoothMix
    >>> plan = SmoothMix().plan(2, (8, 8), rng=1)
    >>> bool(abs(plan.lam[0] - plan.masks[0].mean()) < 1e-12)
    True
    """

    sigma: tuple[float, float] = (0.25, 0.5)
    mode: Mode = "batch"
    prob: float = 1.0
    partners: Partners | None = None
    _rule: ClassVar[str] = "SmoothMix"

    def __post_init__(self) -> None:
        self._freeze("sigma")
        super().__post_init__()


@frozen
class ResizeMix(CoreRule):
    """ResizeMix: the whole partner is resized and pasted into each sample, [1]_.

    The partner becomes smaller by a factor that is uniform between the two of `scale`, and is pasted anywhere it fits.
    `lam` is the share that is not covered. `MixPlan.from_boxes` says which pixels the box gets.

    Parameters
    ----------
    scale : (float, float), default (0.1, 0.8)
        The least and the largest factor, in [0, 1]; the sides of the box are rounded to pixels. (0, 0) mixes nothing.
    mode : {"batch", "elem", "pair"}, default "batch"
        One box for the batch; a box per sample; one that i and its partner share.
    prob : float, default 1.0
        The probability with which each box that is drawn is used.
    partners : callable, optional
        Chooses the partners: `Within`, `Across`, `Balanced`, `CMixup`, or a function of the number of samples, their
        labels (a NumPy array or None) and a numpy Generator which returns an index for each. A sample that is its own
        partner keeps its label, and gets itself pasted. By default a random permutation. Not with mode "pair".

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; from `plan` also unless samples have two spatial axes.

    References
    ----------
    .. [1] Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels", arXiv 2012.11101.

    Examples
    --------
    >>> from mixup_rs import ResizeMix
    >>> ResizeMix(scale=(0.5, 0.5)).plan(2, (8, 8), rng=1).lam
    array([0.75, 0.75])
    """

    scale: tuple[float, float] = (0.1, 0.8)
    mode: Mode = "batch"
    prob: float = 1.0
    partners: Partners | None = None
    _rule: ClassVar[str] = "ResizeMix"

    def __post_init__(self) -> None:
        self._freeze("scale")
        super().__post_init__()


@frozen
class OneOf(CoreRule):
    """One rule of several, chosen for each batch or for each sample.

    Parameters
    ----------
    rules : sequence of rules
        Any objects with a method `plan`. Rules of this package that choose `partners` alike share them.
    probs : sequence of float, optional
        The probability of each rule; by default all are equally likely. Their sum may be less than 1: the rest stays as
        it is.
    mode : {"batch", "elem"}, default "batch"
        A choice for the batch, or one per sample.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    Mixup, CutMix : Rules to choose from.

    Examples
    --------
    >>> from mixup_rs import CutMix, Mixup, OneOf
    >>> plan = OneOf([Mixup(0.8), CutMix(1.0)], mode="elem").plan(64, (224, 224), rng=1)
    >>> cut = plan.boxes.any(axis=1)
    >>> bool(cut.any()), bool((plan.weight[~cut] < 1).all())
    (True, True)
    """

    rules: Sequence[Any]
    probs: Sequence[float] | None = None
    mode: Literal["batch", "elem"] = "batch"
    _rule: ClassVar[str] = "OneOf"

    def __post_init__(self) -> None:
        self._freeze("rules", "probs")
        super().__post_init__()


def looks_at_labels(rule: Rule) -> bool:
    """Whether a rule may look at the labels of a batch: one with `partners`, or not of this package."""
    if getattr(type(rule), "plan", None) is not CoreRule.plan:
        return True
    if isinstance(rule, OneOf):
        return any(map(looks_at_labels, rule.rules))
    return getattr(rule, "partners", None) is not None or getattr(rule, "_needs_labels", False)


def kinds() -> dict[str, type[CoreRule]]:
    """The rules of this package by name, in lower case: "mixup", "cutmix", ..."""
    found = (value for name, value in globals().items() if not name.startswith("_"))
    kinds = (kind for kind in found if isinstance(kind, type) and issubclass(kind, CoreRule) and kind is not CoreRule)
    return {kind.__name__.lower(): kind for kind in kinds}
