//! Keys and their streams of random numbers.
//!
//! A key is a sequence of whole numbers, such as (seed, epoch, batch, rank). It is hashed into 256 bits by a tree of
//! pseudo-random functions (Goldreich, Goldwasser and Micali, 1986): the state is the key of a ChaCha cipher, a word of
//! the key selects the block to encrypt, and the block is the next state. Different keys therefore give unrelated
//! streams, also (0, 1) and (1, 0), or (1,) and (1, 0).
//!
//! λ, partners, boxes, choices and masks come from separate streams of that state, so a given λ does not change the partners.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The version of the drawn values. A release that draws other values from the same key increases it.
pub const STREAM_VERSION: u32 = 1;

const ROOT: [u8; 32] = *b"mixup-rs: streams, version 1    ";

/// The state that a plan is drawn from. The same key gives the same plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    state: [u8; 32],
    /// The state that partners are drawn from, which a child shares with its parent.
    partners: [u8; 32],
}

/// The independent streams under one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stream {
    Lam = 1,
    Partner = 2,
    Box = 3,
    Choice = 4,
    Mask = 5,
}

impl Key {
    /// A key of whole numbers below 2⁶⁴, such as (seed, epoch, batch, rank).
    ///
    /// ```
    /// use mixup_rs::Key;
    /// assert_ne!(Key::new(&[1, 2]), Key::new(&[2, 1]));
    /// assert_ne!(Key::new(&[1]), Key::new(&[1, 0]));
    /// ```
    pub fn new(items: &[u64]) -> Self {
        Self::from_digits(items.iter().map(std::slice::from_ref))
    }

    /// A key of whole numbers of any size, each as its 64-bit digits, least significant first and without leading
    /// zeros; 0 is a single zero.
    pub fn from_digits<'a>(items: impl IntoIterator<Item = &'a [u64]>) -> Self {
        let mut state = ROOT;
        let mut count = 0;
        for digits in items {
            count += 1;
            for (i, digit) in digits.iter().enumerate() {
                // Absorbs the number of digits left as well, so that no two keys absorb the same sequence.
                state = absorb(state, *digit, (digits.len() - i) as u64);
            }
        }
        Self::from_bytes(absorb(state, count, 0))
    }

    /// A fresh key from the operating system. Every call asks it again, so a forked process shares no keys.
    ///
    /// # Panics
    /// If the operating system has no random bytes.
    #[cfg(not(target_os = "unknown"))]
    pub fn from_entropy() -> Self {
        use rand::TryRng;
        use rand::rngs::SysRng;
        let mut bytes = [0; 32];
        SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
        Self::from_bytes(bytes)
    }

    /// A key of 256 random bits drawn by the caller.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { state: bytes, partners: bytes }
    }

    /// The key of one of several rules for the same batch. Its λ, boxes and choices are independent of this key's. Its
    /// partners are the same, so that the partners of samples of different rules still form a permutation.
    ///
    /// ```
    /// use mixup_rs::{Key, Mixup, Rule};
    /// let (rule, key) = (Mixup::default(), Key::new(&[42]));
    /// let (plan, other) = (rule.plan(8, &[], key)?, rule.plan(8, &[], key.child(0))?);
    /// assert_eq!(plan.partner(), other.partner());
    /// assert_ne!(plan.lam(), other.lam());
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    pub fn child(&self, index: u64) -> Self {
        // More than the number of digits left in any key.
        const CHILD: u64 = 1 << 40;
        Self { state: absorb(self.state, index, CHILD), partners: self.partners }
    }

    /// The 256 bits as whole numbers, to seed the generator of another library.
    pub fn words(&self) -> [u64; 4] {
        words(&self.state)
    }

    /// Those from which partners are drawn: a child has its parent's.
    pub fn partner_words(&self) -> [u64; 4] {
        words(&self.partners)
    }

    pub(super) fn stream(&self, stream: Stream) -> ChaCha8Rng {
        self.block(stream, 0)
    }

    /// A separate stream for block number `block` of the draws.
    pub(super) fn block(&self, stream: Stream, block: usize) -> ChaCha8Rng {
        let state = if stream == Stream::Partner { self.partners } else { self.state };
        let mut rng = ChaCha8Rng::from_seed(state);
        rng.set_stream(stream as u64 | (block as u64) << 8);
        rng
    }
}

fn words(state: &[u8; 32]) -> [u64; 4] {
    [0, 1, 2, 3].map(|at| u64::from_le_bytes(std::array::from_fn(|i| state[8 * at + i])))
}

fn absorb(state: [u8; 32], word: u64, left: u64) -> [u8; 32] {
    let mut cipher = ChaCha8Rng::from_seed(state);
    cipher.set_stream(word);
    cipher.set_word_pos(u128::from(left) << 4);
    let mut next = [0; 32];
    cipher.fill_bytes(&mut next);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_share_only_the_partners() {
        let key = Key::new(&[7]);
        let (first, second) = (key.child(0), key.child(1));
        let draw = |key: Key, stream| key.stream(stream).next_u64();
        for stream in [Stream::Lam, Stream::Box, Stream::Choice, Stream::Mask] {
            let drawn = [draw(key, stream), draw(first, stream), draw(second, stream), draw(first.child(0), stream)];
            assert!((0..4).all(|i| (0..i).all(|j| drawn[i] != drawn[j])), "{stream:?}");
        }
        assert_eq!(draw(first.child(3), Stream::Partner), draw(key, Stream::Partner));
        assert_ne!(draw(Key::new(&[7, 0]), Stream::Partner), draw(key, Stream::Partner));
    }

    #[test]
    fn words_are_the_state() {
        let key = Key::from_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(key.words()[1], 0x0F0E_0D0C_0B0A_0908);
        assert_eq!(key.child(1).partner_words(), key.words());
        assert_ne!(key.child(1).words(), key.words());
    }
}
