//! This is the path of a key-value request: which bucket and which key it names, percent-decoded
//! once and otherwise taken literally.
//!
//! No segment means anything: `//`, `.` and `..` are bytes of a key like all others.

use soros_core::id::{BucketName, NameError};
use soros_core::key::{Key, KeyError};
use soros_core::limits::KEY_BYTES_MAX;

/// Which route a path is, its parts as they are in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/v1/kv/{bucket}/{key}`: one key.
    Key {
        /// The bucket.
        bucket: &'a str,
        /// The key.
        key: &'a str,
    },
    /// `/v1/kv/{bucket}`: the keys of a bucket.
    Bucket {
        /// The bucket.
        bucket: &'a str,
    },
    /// `/v1/batch`: several operations.
    Batch,
    /// `/v1/watch/{bucket}`: what changes in a bucket.
    Watch {
        /// The bucket.
        bucket: &'a str,
    },
}

impl<'a> Route<'a> {
    /// The route of a path, when it is one of this API.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Route<'a>> {
        if path == "/v1/batch" {
            return Some(Route::Batch);
        }
        if let Some(bucket) = path.strip_prefix("/v1/watch/") {
            return (!bucket.contains('/')).then_some(Route::Watch { bucket });
        }
        let rest = path.strip_prefix("/v1/kv/")?;
        Some(match rest.split_once('/') {
            Some((bucket, key)) => Route::Key { bucket, key },
            None => Route::Bucket { bucket: rest },
        })
    }
}

/// Why a path or query is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `%` without two hexadecimal digits outside a key.
    #[error("a `%` in the path or query is not followed by two hexadecimal digits")]
    Encoding,
    /// A `%` without two hexadecimal digits in a key.
    #[error("a `%` in the key is not followed by two hexadecimal digits")]
    KeyEncoding,
    /// Not a key.
    #[error("{0}; keys have 1 to {KEY_BYTES_MAX} bytes")]
    Key(#[from] KeyError),
    /// Not a bucket's name.
    #[error("{0}")]
    BucketName(#[from] NameError),
    /// A query parameter that the route does not have.
    #[error("there is no query parameter `{name}` here; a `?` of a key is written `%3F`")]
    Parameter {
        /// Its name, as far as it is worth showing.
        name: String,
    },
}

/// The bucket that a path names.
///
/// # Errors
/// [`PathError::Encoding`] or [`PathError::BucketName`].
pub fn bucket(raw: &str) -> Result<BucketName, PathError> {
    let bytes = decode(raw).ok_or(PathError::Encoding)?;
    Ok(String::from_utf8_lossy(&bytes).parse()?)
}

/// The key that a path names.
///
/// # Errors
/// [`PathError::KeyEncoding`] or [`PathError::Key`].
pub fn key(raw: &str) -> Result<Key, PathError> {
    let bytes = decode(raw).ok_or(PathError::KeyEncoding)?;
    Ok(Key::try_from(bytes.as_slice())?)
}

/// Checks that the query of a route without parameters has none: a parameter that nobody reads is
/// a mistake, most often a `?` meant for the key.
///
/// # Errors
/// [`PathError::Encoding`] or [`PathError::Parameter`].
pub fn no_parameters(query: Option<&str>) -> Result<(), PathError> {
    const SHOWN_CHARS_MAX: usize = 80;

    let query = query.unwrap_or_default();
    let Some(first) = query.split('&').find(|parameter| !parameter.is_empty()) else {
        return Ok(());
    };
    decode(query).ok_or(PathError::Encoding)?;
    let name = first.split_once('=').map_or(first, |(name, _)| name);
    let name = decode(name).ok_or(PathError::Encoding)?;
    let name = String::from_utf8_lossy(&name);
    let name = name.chars().take(SHOWN_CHARS_MAX).collect();
    Err(PathError::Parameter { name })
}

/// The bytes that percent-encoded text stands for; none where a `%` lacks its digits. A `+` is a
/// plus.
fn decode(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            literal => literal,
        });
    }
    Some(bytes)
}

fn digit(byte: Option<u8>) -> Option<u8> {
    let value = char::from(byte?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[track_caller]
    fn check_route(path: &str, route: Option<Route<'_>>) {
        assert_eq!(Route::of(path), route, "{path}");
    }

    #[test]
    fn tells_routes_apart_by_where_the_slashes_are() {
        let one = |bucket, key| Some(Route::Key { bucket, key });
        check_route("/v1/kv/b/k", one("b", "k"));
        check_route("/v1/kv/b/", one("b", ""));
        check_route("/v1/kv/b//a/../b/", one("b", "/a/../b/"));
        check_route("/v1/kv//k", one("", "k"));
        check_route("/v1/kv/b", Some(Route::Bucket { bucket: "b" }));
        check_route("/v1/kv/", Some(Route::Bucket { bucket: "" }));
        check_route("/v1/batch", Some(Route::Batch));
        check_route("/v1/watch/b", Some(Route::Watch { bucket: "b" }));
        for path in [
            "/",
            "",
            "/v1/kv",
            "/v1/kvs/b",
            "/v1/batch/",
            "/v1/watch",
            "/v1/watch/b/c",
        ] {
            check_route(path, None);
        }
    }

    #[track_caller]
    fn check_key(raw: &str, bytes: &[u8]) {
        assert_eq!(key(raw).expect(raw).as_bytes(), bytes);
    }

    #[test]
    fn decodes_a_key_once_and_normalises_nothing() {
        check_key("k", b"k");
        check_key("a/b//c/./../d", b"a/b//c/./../d");
        check_key("a+b", b"a+b");
        check_key("%2F%2f", b"//");
        check_key("%2541", b"%41");
        check_key("%00%ff", &[0, 255]);
        check_key("ä", "ä".as_bytes());
        check_key(&"%6b".repeat(KEY_BYTES_MAX), &[b'k'; KEY_BYTES_MAX]);
    }

    #[test]
    fn refuses_what_is_no_key() {
        assert_eq!(key(""), Err(PathError::Key(KeyError::Empty)));
        let long = KeyError::TooLong(KEY_BYTES_MAX + 1);
        assert_eq!(
            key(&"k".repeat(KEY_BYTES_MAX + 1)),
            Err(PathError::Key(long))
        );
        for raw in ["%", "%4", "a%zz", "%+1", "%4%41", "k%ä0"] {
            assert_eq!(key(raw), Err(PathError::KeyEncoding), "{raw}");
        }
    }

    #[test]
    fn refuses_what_is_no_bucket() {
        assert_eq!(bucket("d%65fault").expect("a name").as_str(), "default");
        for raw in ["", "A", "a%2Fb", "%ff", "-a", "a%00"] {
            assert!(
                matches!(bucket(raw), Err(PathError::BucketName(_))),
                "{raw}"
            );
        }
        assert_eq!(bucket("a%"), Err(PathError::Encoding));
    }

    #[test]
    fn takes_no_query_parameter() {
        for query in [None, Some(""), Some("&")] {
            assert_eq!(no_parameters(query), Ok(()));
        }
        let refused = |name: &str| {
            Err(PathError::Parameter {
                name: name.to_owned(),
            })
        };
        assert_eq!(no_parameters(Some("w=2")), refused("w"));
        assert_eq!(no_parameters(Some("&%77&x")), refused("w"));
        assert_eq!(no_parameters(Some("=")), refused(""));
        assert_eq!(no_parameters(Some("w=%2")), Err(PathError::Encoding));
    }

    proptest! {
        #[test]
        fn reads_back_every_key_however_it_is_encoded(
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let encoded: Vec<_> = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            check_key(&encoded.concat(), &bytes);
        }

        #[test]
        fn never_panics(path in ".{0,64}") {
            let path = format!("/v1/kv/{path}");
            if let Some(Route::Key { bucket: name, key: raw }) = Route::of(&path) {
                let _ = (bucket(name), key(raw), no_parameters(Some(raw)));
            }
        }
    }
}
