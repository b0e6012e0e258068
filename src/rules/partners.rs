//! The partners of a plan, given or drawn.

use crate::error::{MixError, Result, memory_for};
use crate::plan::{Mode, Order, Partners};
use crate::random::{Cycles, Key, draw_cycles, draw_matching, draw_others};

/// Checks given partners or draws new ones: pairs in [`Mode::Pair`], else a permutation, the same one for every rule.
/// Also returns their visiting order if it is known, for [`MixPlan::with_order`](crate::MixPlan), which saves the plan
/// from finding it.
pub(super) fn partners(
    n: usize,
    mode: Mode,
    given: Option<Vec<usize>>,
    key: Key,
) -> Result<(Vec<usize>, Option<Order>)> {
    memory_for(n)?;
    if given.is_none() && mode != Mode::Pair {
        let Cycles { partner, sequence, starts } = draw_cycles(key, n);
        return Ok((partner, Some(Order::of_cycles(&sequence, &starts))));
    }
    let partner = match given {
        Some(partner) if partner.len() != n => {
            return Err(MixError::PartnerLength { got: partner.len(), expected: n });
        }
        Some(partner) => partner,
        None => draw_matching(key, n),
    };
    if mode == Mode::Pair {
        check_paired(&partner)?;
    }
    Ok((partner, None))
}

/// Checks given partners of `n` samples among `other` samples of another batch, or draws them.
pub(super) fn others(n: usize, other: usize, given: Option<Vec<usize>>, key: Key) -> Result<Partners> {
    if let Some(partner) = given {
        return Ok(Partners::of_other(partner, other));
    }
    if other == 0 && n > 0 {
        return Err(MixError::OtherEmpty);
    }
    memory_for(n)?;
    Ok(Partners::of_other(draw_others(key, n, other), other))
}

/// Refuses pairs, for which a partner must be mixed as well.
pub(super) fn check_not_paired(mode: Mode) -> Result<()> {
    if mode == Mode::Pair { Err(MixError::OtherPaired) } else { Ok(()) }
}

fn check_paired(partner: &[usize]) -> Result<()> {
    for (index, &named) in partner.iter().enumerate() {
        match partner.get(named) {
            None => {
                return Err(MixError::PartnerRange { index, value: named as i128, n: partner.len() });
            }
            Some(&back) if back != index => {
                return Err(MixError::NotPaired { index, partner: named, back });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_a_permutation_or_pairs() {
        let named_back = |mode| {
            let (partner, _) = partners(9, mode, None, Key::new(&[7])).unwrap();
            (0..9).filter(|&i| partner[partner[i]] == i).count()
        };
        assert_eq!(named_back(Mode::Pair), 9);
        assert!(named_back(Mode::Elem) < 9 && named_back(Mode::Batch) < 9);
    }

    #[test]
    fn given_partners_are_checked() {
        let key = Key::new(&[7]);
        let given =
            |mode, partner: &[usize]| partners(3, mode, Some(partner.to_vec()), key).map(|(partner, _)| partner);
        assert_eq!(given(Mode::Elem, &[0, 0, 1]), Ok(vec![0, 0, 1]));
        assert_eq!(given(Mode::Elem, &[0; 4]), Err(MixError::PartnerLength { got: 4, expected: 3 }));
        // Two valid pairs for three samples: the λ of the third would be looked up out of bounds.
        assert_eq!(given(Mode::Pair, &[1, 0]), Err(MixError::PartnerLength { got: 2, expected: 3 }));
        assert_eq!(given(Mode::Pair, &[1, 2, 0]), Err(MixError::NotPaired { index: 0, partner: 1, back: 2 }));
        assert_eq!(given(Mode::Pair, &[1, 0, 3]), Err(MixError::PartnerRange { index: 2, value: 3, n: 3 }));
    }
}
