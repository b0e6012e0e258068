//! The options of a rule as places to write to, so that what makes rules, from Python or from text, knows none of them.

use crate::plan::Mode;

/// The place of an option in a rule, by the kind of its values, whose range [`Rule::check`](super::Rule::check)
/// checks.
#[derive(Debug)]
pub enum Slot<'a> {
    /// A number.
    Real(&'a mut f64),
    /// A whole number, and the least that it may be.
    Count(&'a mut usize, usize),
    /// Two whole numbers.
    Counts(&'a mut (usize, usize)),
    /// Two fractions.
    Fractions(&'a mut (f64, f64)),
    /// Two fractions, or none.
    MaybeFractions(&'a mut Option<(f64, f64)>),
    /// Yes or no.
    Switch(&'a mut bool),
    /// Which samples share a draw.
    Mode(&'a mut Mode),
    /// Whether there is a value. The core does not read it.
    Given(&'a mut bool),
}
