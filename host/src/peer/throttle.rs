//! This is how many bytes a second a node takes from others to repair its partitions, so that a
//! refill leaves the disk and the network to clients.

use super::turns::FETCHED_AT_A_TIME;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// For how long what was taken without waiting makes others wait. Those who do wait go on at once,
/// so that what they take then is paid for in any case.
const DEBT_MAX: Duration = Duration::from_secs(10);

/// A rate, and what was taken at it.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    /// When all that was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
    taken: AtomicU64,
}

impl Throttle {
    /// As many bytes a second at most, over some time.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle {
            bytes_per_second: bytes_per_second.max(1),
            paid: Mutex::default(),
            taken: AtomicU64::new(0),
        }
    }

    /// Takes note of what was taken.
    pub(super) fn take(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        let micros = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = paid.map_or(now, |paid| paid.max(now));
        let cost = Duration::from_micros(micros);
        let debt_max = DEBT_MAX.max(cost.saturating_mul(FETCHED_AT_A_TIME));
        *paid = Some((begin + cost).min(now + debt_max).max(begin));
    }

    /// Waits until what was taken so far is paid for.
    pub(super) async fn paid(&self) {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paid) = paid {
            sleep_until(paid).await;
        }
    }

    /// The bytes that were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn takes_no_more_than_the_rate_over_some_time() {
        let throttle = Throttle::new(100);
        let begun = Instant::now();
        let waited = || begun.elapsed().as_secs();
        throttle.paid().await;
        throttle.take(1_000);
        assert_eq!(waited(), 0, "the first is paid for afterwards");
        throttle.paid().await;
        assert_eq!(waited(), 10);
        throttle.take(500);
        tokio::time::sleep(Duration::from_mins(1)).await;
        throttle.paid().await;
        assert_eq!(waited(), 70);
        throttle.take(200);
        throttle.take(300);
        throttle.paid().await;
        assert_eq!(waited(), 75, "what nobody took is gone");
        assert_eq!(throttle.taken(), 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_wait_makes_others_wait_for_a_bounded_time() {
        let throttle = Throttle::new(100);
        let begun = Instant::now();
        let waited = || begun.elapsed().as_secs();
        for _ in 0..1_000 {
            throttle.take(10);
        }
        throttle.paid().await;
        assert_eq!(waited(), 10);
        for _ in 0..FETCHED_AT_A_TIME {
            throttle.take(1_000);
        }
        throttle.paid().await;
        assert_eq!(waited(), 170, "who waited pays for it all");
    }
}
