//! The errors of drawing and applying plans. Every message states what was given and what was expected.

use thiserror::Error;

/// The reason why a plan could not be drawn or applied. Nothing has been written when an error is returned.
///
/// ```
/// use mixup_rs::{Lam, MixPlan};
/// let error = MixPlan::new(Lam::Shared(0.5), vec![0, 2]).unwrap_err();
/// assert_eq!(error.to_string(), "partner must lie in [0, 2), got 2 at index 1");
/// ```
#[allow(missing_docs)] // The messages document the variants and their fields.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MixError {
    #[error("alpha must be a finite number >= 0, got {0}")]
    Alpha(f64),
    #[error("prob must lie in [0, 1], got {0}")]
    Prob(f64),
    /// What a rule says of an option that it refuses, so that a new rule needs no variant.
    #[error("{name} must {expected}, got {got}")]
    Option { name: &'static str, expected: String, got: String },
    #[error("expected {expected} probs, each >= 0 and together at most 1, got {got:?}")]
    Probs { got: Vec<f64>, expected: usize },
    #[error("expected at least one rule to choose from, got none")]
    NoRules,
    #[error("expected {expected} in the text of a rule, such as FMix(decay=2, mode=\"elem\"), got {got:?}")]
    RuleText { expected: String, got: String },
    #[error("a rule is chosen for each batch or for each sample, not for pairs")]
    ChoiceMode,
    #[error("no memory for a plan of {0} samples")]
    TooManySamples(usize),
    #[error("{name} must be a number or one per sample: expected {expected} values, got {got}")]
    WeightLength { name: &'static str, got: usize, expected: usize },
    #[error("{name} must lie in [0, 1], got {value} at index {index}")]
    WeightRange { name: &'static str, index: usize, value: f64 },
    #[error("partner must have one index per sample: expected {expected}, got {got}")]
    PartnerLength { got: usize, expected: usize },
    #[error("partner must lie in [0, {n}), got {value} at index {index}")]
    PartnerRange { index: usize, value: i128, n: usize },
    #[error(
        "pairs need partners that name each other: \
         partner[{index}] is {partner}, but partner[{partner}] is {back}"
    )]
    NotPaired { index: usize, partner: usize, back: usize },
    #[error("partners come from another batch of {expected} samples, which must be given: other=...")]
    NoOther { expected: usize },
    #[error("partners are samples of the batch itself, got another batch of {got}; draw the plan with other={got}")]
    OtherGiven { got: usize },
    #[error("partners come from another batch of {expected} samples, got one of {got}")]
    OtherLength { got: usize, expected: usize },
    #[error("other must have samples of shape {expected:?}, got {got:?}")]
    OtherShape { got: Vec<usize>, expected: Vec<usize> },
    #[error("other must have samples to draw partners from, got none")]
    OtherEmpty,
    #[error("mode=\"pair\" needs partners that are samples of the batch itself, got those of another batch")]
    OtherPaired,
    #[error("plans of one batch must have partners from the same one, got {got:?} beside {expected:?} samples")]
    Others { got: Option<usize>, expected: Option<usize> },
    #[error("k, the number of samples that are mixed at a time, must lie in [2, {most}], got {got}")]
    K { got: usize, most: usize },
    #[error("{weights} weights and {partners} partners are not {k} and {} of each sample", k - 1)]
    SeveralLengths { k: usize, weights: usize, partners: usize },
    #[error("weights must sum to 1 for each sample, got {value} at index {index}")]
    WeightSum { index: usize, value: f64 },
    #[error("{what} needs one partner for each sample, as k=2 draws, got {} (k={k})", k - 1)]
    Several { what: &'static str, k: usize },
    #[error("the plan is for {expected} samples, got an array of {got}")]
    BatchLength { got: usize, expected: usize },
    #[error("expected an array whose axis 0 is the batch, got one with 0 dimensions")]
    NoBatchAxis,
    #[error("out must have shape {expected:?}, got {got:?}")]
    OutShape { got: Vec<usize>, expected: Vec<usize> },
    #[error("out overlaps itself: shape {shape:?} with strides {strides:?} (in elements)")]
    OutOverlapsItself { shape: Vec<usize>, strides: Vec<isize> },
    #[error("class indices must lie in [0, {num_classes}), got {value} at index {index}")]
    ClassIndex { index: usize, value: i128, num_classes: usize },
    #[error("a box must have starts <= ends within {shape:?}, got {value:?} at index {index}")]
    Box { index: usize, value: Vec<usize>, shape: Vec<usize> },
    #[error("the bounds of a box must be at least 0, got {value} in the box at index {index}")]
    BoxBound { index: usize, value: i128 },
    #[error("a mask must lie in [0, 1], got {value} at pixel {pixel}")]
    MaskRange { pixel: usize, value: f64 },
    #[error("a mask must have at least one pixel, got none")]
    MaskEmpty,
    #[error("a mask for samples of {shape:?} must have a share for each pixel, got {got} in the mask at index {index}")]
    MaskLength { index: usize, got: usize, shape: Vec<usize> },
    #[error(
        "a box needs the shape of a sample's one to three spatial axes, as a mask does, such as (height, width), \
         (length,) or (depth, height, width), got {got} of them"
    )]
    SpatialRank { got: usize },
    #[error("a partner is resized into boxes along two spatial axes, (height, width), got {got} of them")]
    ResizedRank { got: usize },
    #[error("resized must be one for all boxes or one for each of {expected}, got {got}")]
    ResizedLength { got: usize, expected: usize },
    #[error("points are of {got} samples, but partners are among at least {expected}")]
    Points { got: usize, expected: usize },
    #[error("plans of one batch must be for samples of one spatial shape, got {got:?} beside {expected:?}")]
    SpatialShapes { got: Vec<usize>, expected: Vec<usize> },
    #[error("these elements cannot be blended, only copied")]
    NotBlended,
    #[error("spatial_axes must be {expected} different axes behind the batch, got {axes:?} for {ndim} dimensions")]
    SpatialAxes { axes: Vec<isize>, ndim: usize, expected: usize },
    #[error("the {regions} are for samples of {expected:?}, got an array with {got:?} on axes {axes:?}")]
    SpatialShape { regions: &'static str, got: Vec<usize>, expected: Vec<usize>, axes: Vec<isize> },
    #[error(
        "normalize must be (mean, std), each a number or one per channel, finite and std > 0, got ({mean:?}, {std:?})"
    )]
    Normalize { mean: Vec<f64>, std: Vec<f64> },
    #[error(
        "normalize has {expected} channels, but the first, the last or the named axis of a sample has not: {got:?}"
    )]
    Channels { got: Vec<usize>, expected: usize },
    #[error("label_smoothing must lie in [0, 1], got {0}")]
    LabelSmoothing(f64),
}

/// Checks that there is memory for a plan of `n` samples: its partners, weights, boxes, order and temporary copies. A
/// failed allocation later would abort the process.
pub(crate) fn memory_for(n: usize) -> Result<()> {
    const BYTES_PER_SAMPLE: usize = 256;
    let bytes = n.saturating_mul(BYTES_PER_SAMPLE);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| MixError::TooManySamples(n))
}

/// The result of a function that checks its arguments.
pub type Result<T> = std::result::Result<T, MixError>;
