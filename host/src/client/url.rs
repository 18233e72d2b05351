//! This is where a node is asked: the URL of its client listener, nothing behind it.

use http::uri::{Authority, Scheme, Uri};
use std::fmt;
use std::str::FromStr;

/// The URL of a node's client listener: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeUrl {
    authority: Authority,
    /// As a resolver wants it: an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// Why a text is not the URL of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all, or one with a path or a user.
    #[error("`{0}` is not the URL of a node: write http://HOST:PORT")]
    Malformed(String),
    /// A URL of another scheme.
    #[error("`{0}` asks for a scheme that this client does not speak: write http://HOST:PORT")]
    Scheme(String),
}

impl NodeUrl {
    /// Host and port, as they stand in the URL.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What to connect to.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl FromStr for NodeUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<NodeUrl, UrlError> {
        let malformed = || UrlError::Malformed(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) {
            return Err(UrlError::Scheme(text.to_owned()));
        }
        let is_bare = uri.scheme().is_some() && matches!(uri.path(), "" | "/");
        let authority = uri
            .authority()
            .cloned()
            .filter(|_| is_bare && uri.query().is_none());
        let authority = authority.ok_or_else(malformed)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(NodeUrl {
            authority,
            host,
            port,
        })
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_where_to_connect() {
        let address = |text: &str| {
            let url: NodeUrl = text.parse().expect("a URL");
            (url.address().0.to_owned(), url.address().1)
        };
        assert_eq!(
            address("http://127.0.0.1:7070"),
            ("127.0.0.1".to_owned(), 7070)
        );
        assert_eq!(address("http://[::1]:7070/"), ("::1".to_owned(), 7070));
        assert_eq!(
            address("http://node.example"),
            ("node.example".to_owned(), 80)
        );
    }

    #[test]
    fn refuses_what_is_no_listener() {
        for text in [
            "",
            "node",
            "127.0.0.1:7070",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
        ] {
            assert!(
                matches!(text.parse::<NodeUrl>(), Err(UrlError::Malformed(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "https://a:1".parse::<NodeUrl>(),
            Err(UrlError::Scheme(_))
        ));
    }
}
