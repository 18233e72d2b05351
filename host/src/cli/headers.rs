//! This is what `-v` shows: the headers of an answer that say something about the cluster, the
//! value or the request.

use super::console::Console;
use http::HeaderMap;
use std::io;

/// The headers shown beside all that begin with `soros-`.
const OF_INTEREST: [&str; 6] = [
    "etag",
    "content-type",
    "content-encoding",
    "content-length",
    "last-modified",
    "retry-after",
];

/// Writes the headers of interest to standard error.
pub(super) fn show(console: &mut Console, headers: &HeaderMap) -> io::Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        if name.starts_with("soros-") || OF_INTEREST.contains(&name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            console.message(&format!("{}: {value}", title(name)))?;
        }
    }
    Ok(())
}

/// `soros-served-by` as `Soros-Served-By`.
fn title(name: &str) -> String {
    let word = |word: &str| match word {
        "etag" => "ETag".to_owned(),
        word => word[..word.len().min(1)].to_uppercase() + word.get(1..).unwrap_or_default(),
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_names_as_the_api_page_does() {
        assert_eq!(title("soros-served-by"), "Soros-Served-By");
        assert_eq!(title("etag"), "ETag");
        assert_eq!(title("x--y"), "X--Y");
    }
}
