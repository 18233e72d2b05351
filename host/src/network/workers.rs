//! This is the threads that serve: each runs one current-thread runtime, and every connection
//! stays on the thread it was handed to.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a stopping worker waits for blocking calls of its tasks.
const BLOCKING_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Threads with a runtime each.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// None where it is the runtime of whoever made it.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    stop: oneshot::Sender<()>,
    joined: std::thread::JoinHandle<()>,
}

impl Workers {
    /// Starts `count` workers (at least one), whose threads are called `name-0`, `name-1`, ...
    ///
    /// # Errors
    /// When the operating system gives no thread or no descriptor.
    pub fn start(name: &str, count: usize) -> std::io::Result<Workers> {
        let names = (0..count.max(1)).map(|index| format!("{name}-{index}"));
        let workers = names.map(Worker::start).collect::<Result<_, _>>()?;
        Ok(Workers {
            workers,
            next: AtomicUsize::new(0),
        })
    }

    /// The current runtime as the only worker, for who runs several nodes on one thread.
    ///
    /// # Panics
    /// When called outside a runtime.
    #[must_use]
    pub fn here() -> Workers {
        let worker = Worker {
            handle: Handle::current(),
            thread: None,
        };
        Workers {
            workers: vec![worker],
            next: AtomicUsize::new(0),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The runtime of a worker; numbers past the last begin again with the first.
    #[must_use]
    pub fn runtime(&self, worker: usize) -> &Handle {
        &self.workers[worker % self.workers.len()].handle
    }

    /// Runs a task on a worker; numbers past the last begin again with the first.
    pub fn spawn_on<F>(&self, worker: usize, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.runtime(worker).spawn(task)
    }

    /// Runs a task on the worker whose turn it is.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_on(self.next.fetch_add(1, Ordering::Relaxed), task)
    }

    /// Stops all workers, with what still runs on them, and waits for their threads. Blocks; not
    /// to be called on a worker.
    pub fn stop(self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self
            .workers
            .into_iter()
            .filter_map(|worker| worker.thread)
            .map(|thread| (thread.stop, thread.joined))
            .unzip();
        // Dropping a sender stops its worker; all are told before the first is waited for.
        drop(stops);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

impl Worker {
    fn start(name: String) -> std::io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(BLOCKING_WAIT);
        })?;
        let thread = Some(Thread {
            stop,
            joined: thread,
        });
        Ok(Worker { handle, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread_name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn takes_turns_and_keeps_to_its_threads() {
        let workers = Workers::start("turn", 2).unwrap();
        let mut names = Vec::new();
        for _ in 0..4 {
            names.push(workers.spawn(async { thread_name() }).await.unwrap());
        }
        assert_eq!(names, ["turn-0", "turn-1", "turn-0", "turn-1"]);
        let name = workers.spawn_on(3, async { thread_name() }).await.unwrap();
        assert_eq!(name, "turn-1");
        tokio::task::spawn_blocking(|| workers.stop())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn can_be_the_thread_that_made_them() {
        let workers = Workers::here();
        let made_on = thread_name();
        let name = workers.spawn(async { thread_name() }).await.unwrap();
        assert_eq!(name, made_on);
        workers.stop();
    }

    #[test]
    fn stops_with_tasks_that_never_end() {
        let workers = Workers::start("endless", 1).unwrap();
        let task = workers.spawn(std::future::pending::<()>());
        workers.stop();
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    }
}
