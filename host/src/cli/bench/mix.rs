//! This is what a load asks for: reads and writes in a ratio, of keys that are all alike or of
//! which few are asked for often.

use super::super::Failure;
use soros_core::key::Key;
use std::sync::Arc;

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// The first most, the n-th one n-th as often.
    Zipf,
}

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Which requests a load makes.
#[derive(Clone)]
pub(super) struct Mix {
    /// Of 2^32 requests, how many read.
    reads: u64,
    keys: u32,
    /// For each key, which part of all requests is for it or one before it; none when all keys
    /// are alike.
    shares: Option<Arc<[f64]>>,
}

impl Mix {
    /// A mix in which `read_ratio` of all requests read one of `keys` keys.
    pub(super) fn new(read_ratio: f64, keys: u32, distribution: Distribution) -> Mix {
        let shares = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(zipf(keys)),
        };
        Mix {
            reads: threshold(read_ratio),
            keys: keys.max(1),
            shares,
        }
    }

    /// The next request: what it does, and to the key of which number.
    pub(super) fn next(&self, random: &mut Random) -> (Kind, u32) {
        let kind = if u64::from(random.bits()) < self.reads {
            Kind::Read
        } else {
            Kind::Write
        };
        (kind, self.key(random))
    }

    fn key(&self, random: &mut Random) -> u32 {
        match &self.shares {
            None => random.below(self.keys),
            Some(shares) => {
                let point = f64::from(random.bits()) / TWO_TO_32;
                let at = shares.partition_point(|&share| share <= point);
                u32::try_from(at).unwrap_or(u32::MAX).min(self.keys - 1)
            }
        }
    }
}

const TWO_TO_32: f64 = 4_294_967_296.0;

/// Below which of 2^32 equally likely numbers a part of `ratio` of them lies.
fn threshold(ratio: f64) -> u64 {
    let below = |number: u64| {
        let number = u32::try_from(number).map_or(TWO_TO_32, f64::from);
        number < ratio * TWO_TO_32
    };
    let (mut low, mut high) = (0_u64, 1_u64 << 32);
    while low < high {
        let middle = u64::midpoint(low, high);
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn zipf(keys: u32) -> Arc<[f64]> {
    let mut sum = 0.0;
    let mut up_to = |rank: u32| {
        sum += 1.0 / f64::from(rank);
        sum
    };
    let sums: Vec<f64> = (1..=keys).map(&mut up_to).collect();
    sums.iter().map(|part| part / sum).collect()
}

/// The key of a number.
pub(super) fn key(number: u32) -> Result<Key, Failure> {
    Ok(Key::try_from(format!("bench-{number:08}").as_bytes())?)
}

/// Random numbers from a seed, quick and good enough to choose keys by (`SplitMix64`).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of_seed(seed: u64) -> Random {
        Random(seed)
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or(u32::MAX)
    }

    /// A random number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        let scaled = u64::from(self.bits()) * u64::from(bound);
        u32::try_from(scaled >> 32).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(mix: &Mix) -> (u32, Vec<u32>) {
        let mut random = Random::of_seed(7);
        let mut hits = vec![0; 10];
        let mut reads = 0;
        for _ in 0..10_000 {
            let (kind, key) = mix.next(&mut random);
            reads += u32::from(kind == Kind::Read);
            hits[key as usize] += 1;
        }
        (reads, hits)
    }

    #[test]
    fn reads_as_often_as_asked() {
        for (ratio, expected) in [(0.0, 0..=0), (0.25, 2_300..=2_700), (1.0, 10_000..=10_000)] {
            let (reads, _) = draw(&Mix::new(ratio, 10, Distribution::Uniform));
            assert!(expected.contains(&reads), "{ratio}: {reads}");
        }
    }

    #[test]
    fn asks_for_all_keys_alike_or_for_the_first_most() {
        let (_, hits) = draw(&Mix::new(0.5, 10, Distribution::Uniform));
        assert!(
            hits.iter().all(|hits| (850..1150).contains(hits)),
            "{hits:?}"
        );
        let (_, hits) = draw(&Mix::new(0.5, 10, Distribution::Zipf));
        assert!((3_200..3_650).contains(&hits[0]), "{hits:?}");
        assert!((1_550..1_900).contains(&hits[1]), "{hits:?}");
        assert!(0 < hits[9], "{hits:?}");
    }
}
