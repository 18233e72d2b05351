//! This is where chance comes from: one seed, and a stream of numbers that is the same for ever.
//!
//! xoshiro256** (Blackman, Vigna, 2018), seeded by `SplitMix64`. It is written out here so that no
//! update of a library changes what a seed means.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        Random([next(), next(), next(), next()])
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let word = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        word
    }

    /// A stream of its own, which what this one gives afterwards does not depend on.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random::new(self.word())
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// A number from `start` to `end`, both included.
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start + 1)
    }

    /// An index below `len`, which is at least 1.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True `permille` times out of a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// A number around `mean`: most are smaller, a few are many times as large.
    pub fn tailed(&mut self, mean: u64) -> u64 {
        let scale = 1 << self.word().trailing_zeros().min(6);
        self.below(mean * scale + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_same_numbers_for_the_same_seed_for_ever() {
        let mut random = Random::new(1);
        let words: Vec<u64> = (0..3).map(|_| random.word()).collect();
        let expected = [
            12_966_619_160_104_079_557,
            9_600_361_134_598_540_522,
            10_590_380_919_521_690_900,
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.between(3, 5)));
            assert!(random.index(4) < 4);
        }
        assert!((0..100).all(|_| !random.chance(0) && random.chance(1000)));
    }
}
