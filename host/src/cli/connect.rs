//! This is how a command comes to its cluster: which nodes it asks, and the runtime it waits in.

use super::{Environment, Failure};
use crate::client::{Client, ClientOptions, NodeUrl};

/// Where a command asks unless told otherwise.
pub(super) const URL_DEFAULT: &str = "http://127.0.0.1:7070";

/// Who asks: the nodes that the command line or the environment names.
pub(super) struct Caller<'a> {
    pub(super) urls: &'a [String],
    pub(super) environment: Environment<'a>,
}

impl Caller<'_> {
    /// The nodes to ask.
    pub(super) fn urls(&self) -> Result<Vec<NodeUrl>, Failure> {
        if !self.urls.is_empty() {
            return self.urls.iter().map(|url| Ok(url.parse()?)).collect();
        }
        let given = (self.environment)("SOROS_URL").filter(|urls| !urls.is_empty());
        let given = given.unwrap_or_else(|| URL_DEFAULT.to_owned());
        given
            .split(',')
            .map(|url| Ok(url.trim().parse()?))
            .collect()
    }

    /// Runs a command with a client, in a runtime of its own.
    pub(super) fn run<F>(&self, command: impl FnOnce(Client) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let client = client(&self.urls()?, ClientOptions::default())?;
        runtime()?.block_on(command(client))
    }
}

/// A client of these nodes.
pub(super) fn client(urls: &[NodeUrl], options: ClientOptions) -> Result<Client, Failure> {
    Client::new(urls, options).map_err(|_| Failure::Usage("the URL of a node is needed"))
}

/// A runtime on the thread that runs it.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
