//! Draws partners: random permutations and random matchings.

use rand::seq::{SliceRandom, index};

use super::key::{Key, Stream};

/// A permutation and its cycles. Finding the cycles would take longer than drawing the permutation.
#[derive(Debug, Clone)]
pub(crate) struct Cycles {
    pub partner: Vec<usize>,
    /// All samples, cycle by cycle, each along the partners.
    pub sequence: Vec<usize>,
    /// The positions in `sequence` where the cycles begin.
    pub starts: Vec<usize>,
}

/// Draws a partner for each of `n` samples: a uniformly random permutation, as in the paper.
///
/// A shuffled sequence is read as the cycles of a permutation, each starting with its largest number: a cycle starts at
/// every number that is larger than all before it. This is a bijection (Foata's correspondence; Stanley, Enumerative
/// Combinatorics, 2nd edition, 1.3.1).
pub(crate) fn draw_cycles(key: Key, n: usize) -> Cycles {
    let sequence = shuffled(key, n);
    let mut partner = vec![0; n];
    let mut starts = Vec::new();
    for (at, &i) in sequence.iter().enumerate() {
        if starts.last().is_none_or(|&start: &usize| i > sequence[start]) {
            starts.push(at);
        }
        // The last sample of a cycle is corrected below.
        partner[i] = sequence.get(at + 1).copied().unwrap_or(0);
    }
    for (cycle, &start) in starts.iter().enumerate() {
        let end = starts.get(cycle + 1).copied().unwrap_or(n);
        partner[sequence[end - 1]] = sequence[start];
    }
    Cycles { partner, sequence, starts }
}

/// Draws a uniformly random matching: the partner of a partner is the sample itself. With an odd `n` one sample is its
/// own partner.
pub(crate) fn draw_matching(key: Key, n: usize) -> Vec<usize> {
    let shuffled = shuffled(key, n);
    let mut partner: Vec<usize> = (0..n).collect();
    for couple in shuffled.chunks_exact(2) {
        partner[couple[0]] = couple[1];
        partner[couple[1]] = couple[0];
    }
    partner
}

/// Draws a partner for each of `n` samples among `other` samples of another batch: random permutations of these, one after
/// the other, so that none is a partner again before all are. A few of many take time and memory by their own number.
pub(crate) fn draw_others(key: Key, n: usize, other: usize) -> Vec<usize> {
    let mut rng = key.stream(Stream::Partner);
    let mut partner = Vec::with_capacity(n);
    while partner.len() < n {
        partner.extend(index::sample(&mut rng, other, other.min(n - partner.len())));
    }
    partner
}

/// Draws `count` partners for each of `n` samples: those that follow it on a circle of all samples in random order. So each
/// sample is as often a partner as any other, and those of a sample differ, from it too, if there are more than `count`.
pub(crate) fn draw_circle(key: Key, n: usize, count: usize) -> Vec<usize> {
    let sequence = shuffled(key, n);
    let mut partner = vec![0; n * count];
    for (at, &i) in sequence.iter().enumerate() {
        for (step, partner) in (1..).zip(&mut partner[i * count..(i + 1) * count]) {
            *partner = sequence[(at + step) % n];
        }
    }
    partner
}

fn shuffled(key: Key, n: usize) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..n).collect();
    sequence.shuffle(&mut key.stream(Stream::Partner));
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_follow_the_partners() {
        for n in [0, 1, 2, 3, 10, 1000] {
            let Cycles { partner, sequence, starts } = draw_cycles(Key::new(&[n as u64]), n);
            let mut seen = sequence.clone();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n));
            for (cycle, &start) in starts.iter().enumerate() {
                let members = &sequence[start..starts.get(cycle + 1).copied().unwrap_or(n)];
                assert!((0..members.len()).all(|at| partner[members[at]] == members[(at + 1) % members.len()]));
            }
        }
    }

    #[test]
    fn all_permutations_are_equally_likely() {
        let mut count = std::collections::HashMap::new();
        for key in 0..24_000 {
            *count.entry(draw_cycles(Key::new(&[key]), 4).partner).or_insert(0) += 1;
        }
        // Each 1,000 times, with a standard deviation of 31.
        assert_eq!(count.len(), 24);
        assert!(count.values().all(|count| (850..1150).contains(count)), "{count:?}");
    }

    #[test]
    fn others_repeat_once_all_are_drawn() {
        for (n, other) in [(0, 3), (5, 1), (7, 7), (7, 20), (20, 7), (14, 7)] {
            let drawn = draw_others(Key::new(&[7]), n, other);
            let mut count = vec![0; other];
            drawn.iter().for_each(|&partner| count[partner] += 1);
            assert_eq!(drawn.len(), n);
            assert!(count.iter().all(|&count| (n / other..=n.div_ceil(other)).contains(&count)), "{count:?}");
        }
        let mut count = std::collections::HashMap::new();
        (0..24_000).for_each(|key| *count.entry(draw_others(Key::new(&[key]), 2, 4)).or_insert(0) += 1);
        // Each of the 12 ordered pairs 2,000 times, with a standard deviation of 43.
        assert!(count.len() == 12 && count.values().all(|count| (1800..2200).contains(count)), "{count:?}");
        // Where the memory would not hold all of them, few of them are drawn.
        let few = draw_others(Key::new(&[7]), 3, 1 << 50);
        assert!(few.iter().all(|&partner| partner < 1 << 50) && few.iter().any(|&partner| partner > 1 << 40));
    }

    /// Another release of rand may draw others.
    #[test]
    fn others_are_pinned() {
        let drawn = [10, 1000, 1 << 40].map(|other| draw_others(Key::new(&[7]), 3, other));
        assert_eq!(drawn, [[6, 2, 3], [841, 229, 300], [252_233_767_895, 234_593_859_148, 1_072_427_510_741]]);
    }

    #[test]
    fn partners_on_a_circle_differ() {
        for (n, count) in [(0, 2), (1, 2), (2, 3), (3, 2), (9, 2), (9, 8), (5, 15)] {
            let drawn = draw_circle(Key::new(&[7]), n, count);
            for step in 0..count {
                let mut column: Vec<usize> = drawn.iter().copied().skip(step).step_by(count).collect();
                column.sort_unstable();
                assert!(column.into_iter().eq(0..n));
            }
            for (i, row) in drawn.chunks_exact(count).enumerate() {
                let different: std::collections::HashSet<_> = row.iter().chain([&i]).collect();
                assert_eq!(different.len(), n.min(count + 1));
            }
        }
        let mut drawn = std::collections::HashMap::new();
        (0..24_000).for_each(|key| *drawn.entry(draw_circle(Key::new(&[key]), 4, 2)[..2].to_vec()).or_insert(0) += 1);
        // Each of the 6 ordered pairs of others 4,000 times, with a standard deviation of 58.
        assert!(drawn.len() == 6 && drawn.values().all(|count| (3700..4300).contains(count)), "{drawn:?}");
    }

    #[test]
    fn a_matching_leaves_out_one_sample_if_n_is_odd() {
        for n in [0, 1, 2, 9, 10] {
            let partner = draw_matching(Key::new(&[7]), n);
            assert!((0..n).all(|i| partner[partner[i]] == i));
            assert_eq!((0..n).filter(|&i| partner[i] == i).count(), n % 2);
        }
    }
}
