//! This is where questions come from: numbers that look random and are the same for one seed.

/// A source of numbers, by `SplitMix64`.
pub(in crate::plugin) struct Random(u64);

impl Random {
    pub(in crate::plugin) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(in crate::plugin) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(in crate::plugin) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit as u64).unwrap_or(0)
    }

    /// Whether something happens that happens once in `times`.
    pub(in crate::plugin) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(in crate::plugin) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
