//! This is all that happens in a run, in its order: every message of the simulated network with its
//! bytes, and every line of the nodes' logs. Two runs that differ anywhere have other digests.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What a digest is of, and what is shown of it meanwhile.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Mutex<Written>>);

struct Written {
    digest: blake3::Hasher,
    events: u64,
    began: SystemTime,
    /// Whether the nodes' logs are shown, and the network's messages.
    shows: Shows,
    /// The names of the spans that say which node runs.
    nodes: BTreeMap<u64, String>,
    running: Vec<u64>,
    line: String,
}

/// How much of a run is shown while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shows {
    Nothing,
    Logs,
    Messages,
}

impl Journal {
    /// A journal of a run that begins now.
    pub(crate) fn new(shows: Shows) -> Journal {
        Journal(Arc::new(Mutex::new(Written {
            digest: blake3::Hasher::new(),
            events: 0,
            began: SystemTime::now(),
            shows,
            nodes: BTreeMap::new(),
            running: Vec::new(),
            line: String::new(),
        })))
    }

    /// The digest of all that happened, and how much that was.
    pub(crate) fn digest(&self) -> (String, u64) {
        let written = self.written();
        let digest = written.digest.finalize().to_hex();
        (digest[..16].to_owned(), written.events)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of_network(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("turmoil")
}

impl Subscriber for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return metadata.name() == "node" && is_of_network(metadata);
        }
        is_of_network(metadata)
            || (metadata.target().starts_with("soros") && *metadata.level() <= Level::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = Text(String::new());
        span.record(&mut name);
        let mut written = self.written();
        let id = written.nodes.len() as u64 + 1;
        if let Some((&known, _)) = written.nodes.iter().find(|(_, other)| **other == name.0) {
            return Id::from_u64(known);
        }
        written.nodes.insert(id, name.0);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let (metadata, now) = (event.metadata(), SystemTime::now());
        let mut written = self.written();
        let Written {
            digest,
            events,
            began,
            shows,
            nodes,
            running,
            line,
        } = &mut *written;
        let passed = now.duration_since(*began).unwrap_or(Duration::ZERO);
        let node = running.last().and_then(|id| nodes.get(id));
        let node = node.map_or("", String::as_str);
        line.clear();
        let level = metadata.level();
        let _ = write!(line, "{:9} {level}{node}{}", passed.as_millis(), text.0);
        digest.update(line.as_bytes());
        *events += 1;
        let least = if is_of_network(metadata) {
            Shows::Messages
        } else {
            Shows::Logs
        };
        if least <= *shows {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn enter(&self, span: &Id) {
        self.written().running.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.written().running.pop();
    }
}

/// The fields of an event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            // A message with all its bytes, which are noted where they are written and read.
            "protocol" => return,
            "message" | "name" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
