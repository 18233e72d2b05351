//! This is how the operating system says stop: the first SIGTERM or SIGINT drains, the second ends
//! the process at once.

use super::Exit;
use crate::network::{Shutdown, shutdown};
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long a drain may take.
pub(super) const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// How a process ends that was told twice to stop: as if the signal had ended it.
const ENDED_BY_SIGNAL: i32 = 130;

/// The signals that say stop, one after the other.
pub(super) struct Signals(mpsc::Receiver<()>);

impl Signals {
    /// Listens to those of the operating system, as long as the runtime lives that this is called
    /// in.
    pub(super) fn listen() -> io::Result<Signals> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if sender.send(()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Signals(receiver))
    }

    /// Takes what is sent for signals.
    #[cfg(test)]
    pub(super) fn of_channel(receiver: mpsc::Receiver<()>) -> Signals {
        Signals(receiver)
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // Nobody can send one any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Ends the process at once, as a second signal asks.
pub(super) fn end() -> ! {
    std::process::exit(ENDED_BY_SIGNAL)
}

/// What hears the first signal. The second ends the process; a thread of its own waits for both.
pub(super) fn shutdown_at_signal() -> io::Result<Shutdown> {
    let (trigger, heard) = shutdown();
    let runtime = super::connect::runtime()?;
    let guard = runtime.enter();
    let mut signals = Signals::listen()?;
    drop(guard);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                signals.next().await;
                tracing::info!("told to stop; draining");
                trigger.fire();
                tokio::select! {
                    () = signals.next() => end(),
                    () = tokio::time::sleep(DRAIN_TIME_MAX) => {
                        tracing::error!("the drain took too long; ending at once");
                        std::process::exit(Exit::Failed as i32)
                    }
                }
            })
        })?;
    Ok(heard)
}
