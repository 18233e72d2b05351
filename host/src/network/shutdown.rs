//! This is how a node says "stop" to everything that runs: one trigger, any number of listeners
//! that hear it once.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// Says "stop". Dropping it says so too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Hears "stop".
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what hears it.
#[must_use]
pub fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Says "stop" to all that listen, now and later.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Waits until "stop" is said.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone: nobody is left to keep this running.
        let _ = self.0.wait_for(|&stopped| stopped).await;
    }

    /// Whether "stop" was said.
    #[must_use]
    pub fn is_said(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// The same wait as a thing to be polled by hand; after it was ready it must not be polled.
    pub(super) fn into_wait(mut self) -> Wait {
        Wait(Box::pin(async move { self.wait().await }))
    }
}

/// A wait for "stop" that is polled by hand.
pub(super) struct Wait(super::BoxFuture<'static, ()>);

impl Wait {
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_heard_by_those_who_listen_before_and_after() {
        let (trigger, mut early) = shutdown();
        let heard = tokio::spawn(async move { early.wait().await });
        let mut late = Shutdown(trigger.0.subscribe());
        assert!(!late.is_said());
        trigger.fire();
        heard.await.unwrap();
        late.wait().await;
        assert!(late.is_said());
    }

    #[tokio::test]
    async fn is_said_when_the_trigger_is_dropped() {
        let (trigger, mut shutdown) = shutdown();
        drop(trigger);
        shutdown.wait().await;
        assert!(shutdown.is_said());
    }
}
