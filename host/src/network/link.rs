//! This is the link to one node, kept up: dialled, used until it is lost, dialled again after a
//! pause that grows and is never the same for two.

use super::dial::{DialError, Dialler};
use super::hello::Priority;
use super::lane::{Cause, Lane};
use super::links::LinkState;
use super::shutdown::Shutdown;
use soros_core::id::NodeId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The first pause after a lost link or a failed attempt.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A link that stood for this long was good: the next pause is short again.
const GOOD_AFTER: Duration = Duration::from_secs(2);
/// How long a stopping link waits for its answers between two looks.
const QUIET_LOOK: Duration = Duration::from_millis(5);

/// The link to one node.
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) foreground: Arc<Lane>,
    pub(super) background: Arc<Lane>,
    address: Mutex<String>,
    /// The address changed: what stands is dropped.
    moved: Notify,
    /// There is reason to think that the node is back.
    woken: Notify,
}

/// How an attempt to keep a link up ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the node has left")]
    Left,
    #[error("the link broke: {0}")]
    Lost(DialError),
    #[error(transparent)]
    Failed(DialError),
}

/// Random bits for the jitter of pauses.
pub(super) type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Link {
    pub(super) fn new(node: NodeId, address: &str) -> Link {
        let link = Link {
            node,
            foreground: Arc::default(),
            background: Arc::default(),
            address: Mutex::new(address.to_owned()),
            moved: Notify::new(),
            woken: Notify::new(),
        };
        // Calls wait for the first attempt, which follows at once.
        link.open_soon(true);
        link
    }

    pub(super) fn lane(&self, priority: Priority) -> &Arc<Lane> {
        match priority {
            Priority::Foreground => &self.foreground,
            Priority::Background => &self.background,
        }
    }

    fn lanes(&self) -> [(Priority, Arc<Lane>); 2] {
        [Priority::Foreground, Priority::Background]
            .map(|priority| (priority, Arc::clone(self.lane(priority))))
    }

    pub(super) fn address(&self) -> String {
        self.address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes to another address, if it is another.
    pub(super) fn set_address(&self, address: &str) {
        let mut current = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != address {
            address.clone_into(&mut current);
            drop(current);
            self.moved.notify_one();
        }
    }

    /// Ends a pause between attempts.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    fn open_soon(&self, takes: bool) {
        self.foreground.open_soon(takes);
        self.background.open_soon(takes);
    }

    fn close(&self, cause: Cause, then: Cause) {
        self.foreground.close(cause, then);
        self.background.close(cause, then);
    }

    /// Keeps the link up until `stop`, then lets calls under way finish.
    pub(super) async fn run(
        self: Arc<Link>,
        dialler: Arc<Dialler>,
        random: Random,
        mut stop: Shutdown,
    ) {
        let mut pause = PAUSE_MIN;
        let mut reported = String::new();
        loop {
            let since = Instant::now();
            tokio::select! {
                biased;
                () = self.stopped(&mut stop) => break,
                () = self.moved.notified() => {
                    self.close(Cause::Lost, Cause::Down);
                    self.open_soon(true);
                    continue;
                }
                ended = self.attempt(&dialler) => self.on_ended(&dialler, &ended, &mut reported),
            }
            // Later attempts take no calls: the node may be gone for long.
            self.close(Cause::Lost, Cause::Down);
            if since.elapsed() >= GOOD_AFTER {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                biased;
                () = stop.wait() => break,
                () = self.woken.notified() => {
                    pause = PAUSE_MIN;
                    self.open_soon(false);
                }
                () = self.moved.notified() => {
                    pause = PAUSE_MIN;
                    self.open_soon(true);
                }
                () = sleep(jittered(pause, random())) => {
                    pause = PAUSE_MAX.min(pause * 2);
                    self.open_soon(false);
                }
            }
        }
        self.close(Cause::Stopped, Cause::Stopped);
    }

    /// Dials once and works until the link is lost; why it was.
    async fn attempt(&self, dialler: &Dialler) -> Ended {
        let lanes = self.lanes();
        let connected = match dialler.dial(&self.address(), Some(self.node), &lanes).await {
            Ok(connected) => connected,
            Err(error) => {
                self.close(Cause::Down, Cause::Down);
                return Ended::Failed(error);
            }
        };
        tracing::info!(node = %self.node, "linked");
        dialler
            .events
            .on_link(self.node, LinkState::Up(connected.peer));
        let leaving = move || {
            for (_, lane) in &lanes {
                lane.leave(Cause::Leaving);
            }
        };
        match connected.run(&dialler.events, Arc::new(leaving)).await {
            Ok(()) => Ended::Left,
            Err(error) => Ended::Lost(error),
        }
    }

    fn on_ended(&self, dialler: &Dialler, ended: &Ended, reported: &mut String) {
        // A node that stays away is dialled every second; its operator knows after the first.
        let text = ended.to_string();
        if *reported != text {
            let (node, address) = (self.node, self.address());
            if matches!(ended, Ended::Failed(DialError::Refused(_))) {
                tracing::error!(%node, address, reason = text, "a node refused this one");
            } else {
                tracing::info!(%node, address, reason = text, "no link");
            }
            *reported = text;
        }
        let state = match ended {
            Ended::Left => LinkState::Left,
            Ended::Lost(_) => LinkState::Lost,
            Ended::Failed(DialError::Refused(refusal)) => LinkState::Refused(*refusal),
            Ended::Failed(_) => LinkState::Down,
        };
        dialler.events.on_link(self.node, state);
    }

    /// Waits until "stop" is said, then until what is under way is answered.
    async fn stopped(&self, stop: &mut Shutdown) {
        stop.wait().await;
        self.foreground.finish();
        self.background.finish();
        while !(self.foreground.is_quiet() && self.background.is_quiet()) {
            sleep(QUIET_LOOK).await;
        }
    }
}

/// Between a half and the whole of `pause`.
fn jittered(pause: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 1024).unwrap_or(0);
    pause / 2 + pause / 2 * part / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_a_half_and_the_whole() {
        let pause = Duration::from_secs(1);
        assert_eq!(jittered(pause, 0), Duration::from_millis(500));
        assert_eq!(jittered(pause, 512), Duration::from_millis(750));
        assert!((0..5000).all(|bits| jittered(pause, bits) < pause));
    }
}
