//! The order in which samples are mixed in place.
//!
//! Sample i reads the original of partner[i], so a sample may be overwritten only after all samples that blend with it.
//! Following the partners from any sample ends in a cycle. Hence:
//!
//! 1. samples that no remaining sample reads come first, as in a topological sort;
//! 2. the remaining samples form cycles, each visited along the partners. The first sample of a cycle is saved before
//!    it is overwritten, for the last.
//!
//! This order also reads each sample from memory once: its partner is the next sample, and is still in the cache.
//! Mixing into a new array therefore uses the same order.

use std::ops::Range;

/// Where the last sample of a [`Segment`] reads its partner. All other samples read theirs in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// In the batch.
    InPlace,
    /// The first sample of this segment, saved before the segment starts.
    Head,
    /// The first sample of the segment with this number, saved before any segment starts.
    HeadOf(usize),
}

/// A stretch of the order that one thread visits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub range: Range<usize>,
    pub last: Last,
}

/// All samples in visiting order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// The samples before the cycles, then the cycles, then the samples that are their own partner and do not change.
    pub samples: Vec<usize>,
    /// The positions in `samples` where each cycle begins, and the end of the last.
    pub(super) cycles: Vec<usize>,
}

impl Order {
    /// The order for these partners, which must be below `partner.len()`.
    pub fn new(partner: &[usize]) -> Self {
        let mut readers = vec![0_u32; partner.len()];
        for (i, &p) in partner.iter().enumerate() {
            readers[p] += u32::from(p != i);
        }
        let mut samples: Vec<usize> = (0..partner.len()).filter(|&i| readers[i] == 0).collect();
        let mut next = 0;
        while next < samples.len() {
            let i = samples[next];
            next += 1;
            let p = partner[i];
            if p != i {
                readers[p] -= 1;
                if readers[p] == 0 {
                    samples.push(p);
                }
            }
        }
        samples.retain(|&i| partner[i] != i);

        let mut cycles = vec![samples.len()];
        for start in 0..partner.len() {
            let mut i = start;
            while readers[i] > 0 && partner[i] != i {
                readers[i] = 0;
                samples.push(i);
                i = partner[i];
            }
            if samples.len() > cycles[cycles.len() - 1] {
                cycles.push(samples.len());
            }
        }
        samples.extend((0..partner.len()).filter(|&i| partner[i] == i));
        Self { samples, cycles }
    }

    /// The order for a permutation with known cycles. `sequence` holds the cycles one after the other, each along the
    /// partners, and `starts` the position where each begins.
    pub fn of_cycles(sequence: &[usize], starts: &[usize]) -> Self {
        let end = |cycle: usize| starts.get(cycle + 1).copied().unwrap_or(sequence.len());
        let (mut samples, mut alone) = (Vec::with_capacity(sequence.len()), Vec::new());
        let mut cycles = vec![0];
        for (cycle, &start) in starts.iter().enumerate() {
            match &sequence[start..end(cycle)] {
                [own] => alone.push(*own),
                members => {
                    samples.extend_from_slice(members);
                    cycles.push(samples.len());
                }
            }
        }
        samples.append(&mut alone);
        Self { samples, cycles }
    }

    /// The number of samples that have another partner than themselves.
    pub fn mixed(&self) -> usize {
        self.cycles[self.cycles.len() - 1]
    }

    /// The order in segments: one for the samples before the cycles, and one per cycle.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let trees = Segment { range: 0..self.cycles[0], last: Last::InPlace };
        let cycles = self.cycles.windows(2).map(|ends| Segment { range: ends[0]..ends[1], last: Last::Head });
        std::iter::once(trees).filter(|segment| !segment.range.is_empty()).chain(cycles)
    }

    /// The order in about `parts` segments that can be visited at the same time, once the samples that [`Last::HeadOf`]
    /// names are saved. `None` if partners repeat, as then the samples before the cycles depend on one another.
    pub fn split(&self, parts: usize) -> Option<Vec<Segment>> {
        if self.cycles[0] > 0 {
            return None;
        }
        let longest = self.mixed().div_ceil(parts.max(1)).max(1);
        let mut segments = Vec::new();
        for cycle in self.segments() {
            if cycle.range.len() <= longest {
                segments.push(cycle);
                continue;
            }
            let first = segments.len();
            let mut start = cycle.range.start;
            while start < cycle.range.end {
                let end = (start + longest).min(cycle.range.end);
                let next = if end == cycle.range.end { first } else { segments.len() + 1 };
                segments.push(Segment { range: start..end, last: Last::HeadOf(next) });
                start = end;
            }
        }
        Some(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Simulates mixing in place, from segment `first` on, and returns the sample whose original each sample read.
    fn walk(order: &Order, segments: &[Segment], partner: &[usize], first: usize) -> Vec<usize> {
        const OVERWRITTEN: usize = usize::MAX;
        let mut batch: Vec<usize> = (0..partner.len()).collect();
        let mut read = batch.clone();
        let saved: Vec<usize> = segments.iter().map(|segment| order.samples[segment.range.start]).collect();
        for number in (first..segments.len()).chain(0..first) {
            let Segment { range, last } = &segments[number];
            let head = batch[order.samples[range.start]];
            for at in range.clone() {
                let i = order.samples[at];
                read[i] = match last {
                    Last::Head if at + 1 == range.end => head,
                    Last::HeadOf(other) if at + 1 == range.end => saved[*other],
                    _ => batch[partner[i]],
                };
                batch[i] = OVERWRITTEN;
            }
        }
        read
    }

    #[test]
    fn every_sample_reads_the_original_of_its_partner() {
        // All partners of up to five samples: permutations, repeats, fixed points.
        for n in 0..=5_usize {
            for code in 0..n.pow(n as u32) {
                let partner: Vec<usize> = (0..n).map(|i| code / n.pow(i as u32) % n).collect();
                let order = Order::new(&partner);
                let whole: Vec<Segment> = order.segments().collect();
                assert_eq!(walk(&order, &whole, &partner, 0), partner);
                for parts in 1..=n + 1 {
                    let Some(segments) = order.split(parts) else { continue };
                    for first in 0..segments.len() {
                        assert_eq!(walk(&order, &segments, &partner, first), partner, "{parts} {first}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_known_cycles_is_valid() {
        // 0 → 3 → 1 → 0, 2 alone, 4 → 5 → 4
        let (partner, sequence, starts) = ([3, 0, 2, 1, 5, 4], [2, 3, 1, 0, 5, 4], [0, 1, 4]);
        let (known, found) = (Order::of_cycles(&sequence, &starts), Order::new(&partner));
        assert_eq!((known.mixed(), known.samples[known.mixed()..].to_vec()), (found.mixed(), vec![2]));
        let whole: Vec<Segment> = known.segments().collect();
        assert_eq!(walk(&known, &whole, &partner, 0), partner);
    }

    #[test]
    fn a_cycle_is_split_into_equal_parts() {
        let order = Order::new(&[1, 2, 3, 4, 5, 6, 7, 0]);
        let lengths =
            |parts| -> Vec<usize> { order.split(parts).unwrap().iter().map(|segment| segment.range.len()).collect() };
        assert_eq!(lengths(1), [8]);
        assert_eq!(lengths(2), [4, 4]);
        assert_eq!(lengths(3), [3, 3, 2]);
        assert_eq!(Order::new(&[0, 0, 0]).split(2), None);
    }

    proptest! {
        #[test]
        fn every_sample_of_a_large_batch_reads_the_original_of_its_partner(
            partner in (1..200_usize).prop_flat_map(|n| prop_oneof![
                proptest::collection::vec(0..n, n),
                Just((0..n).collect::<Vec<_>>()).prop_shuffle(),
            ]),
            parts in 1..20_usize,
            first: usize,
        ) {
            let order = Order::new(&partner);
            let whole: Vec<Segment> = order.segments().collect();
            prop_assert_eq!(&walk(&order, &whole, &partner, 0), &partner);
            let segments = order.split(parts).unwrap_or_default();
            if !segments.is_empty() {
                prop_assert_eq!(&walk(&order, &segments, &partner, first % segments.len()), &partner);
            }
        }
    }
}
