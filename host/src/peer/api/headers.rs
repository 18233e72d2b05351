//! This is what a key-value request says in its headers, each checked once.
//!
//! A `Soros-*` header that is unknown, repeated, of another operation or of a value that it cannot
//! have is refused, as is one whose meaning is not built: a client must never believe that
//! something took effect that did not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, HeaderValue};
use soros_core::limits::{
    CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX, TOKEN_BYTES_MAX, TTL_SECONDS_MAX,
};
use soros_core::operation::Consistency;

use super::accept::Accept;
use super::conditions::Conditions;

/// What a client has seen of a key; on answers, what it has seen now.
pub const SOROS_CONTEXT: HeaderName = HeaderName::from_static("soros-context");
/// How a write without a context is meant.
pub const SOROS_WRITE: HeaderName = HeaderName::from_static("soros-write");
/// How many replicas are waited for.
pub const SOROS_CONSISTENCY: HeaderName = HeaderName::from_static("soros-consistency");
/// What a node does that does not hold the key.
pub const SOROS_ROUTE: HeaderName = HeaderName::from_static("soros-route");
/// How long a value lives.
pub const SOROS_TTL: HeaderName = HeaderName::from_static("soros-ttl");
/// What a client has read and written before.
pub const SOROS_SESSION: HeaderName = HeaderName::from_static("soros-session");
/// Which attempts are one request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How the names of a value's own fields begin.
pub const META_PREFIX: &str = "soros-meta-";
/// The type of a value whose writer gave none.
pub const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

const SOROS_PREFIX: &str = "soros-";
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

/// What a request does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET` or `HEAD`.
    Read,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
}

/// What every key-value request may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The bytes of the token it carries.
    pub token: Option<Vec<u8>>,
    /// How many replicas are waited for.
    pub consistency: Consistency,
    /// Whether a node that does not hold the key says where it is instead of forwarding.
    pub redirect: bool,
}

/// The headers of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadHeaders {
    /// What every request may say.
    pub options: Options,
    /// In which forms the answer is welcome.
    pub accept: Accept,
    /// When the answer is wanted at all.
    pub conditions: Conditions,
}

/// The headers of a write or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteHeaders {
    /// What every request may say.
    pub options: Options,
    /// Whether a sibling is what the client wants.
    pub blind: bool,
    /// What it says of the value; nothing on a delete.
    pub description: Description,
}

/// What a writer says of its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The media type; empty when it gave none.
    pub content_type: String,
    /// The encoding, when it is not `identity`.
    pub content_encoding: Option<String>,
    /// Its own fields: names in lower case without the prefix.
    pub meta: Vec<(String, String)>,
}

/// Why headers are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A `Soros-*` header that there is not.
    #[error("there is no request header `{0}`")]
    Unknown(HeaderName),
    /// A header that may come once came more often.
    #[error("the header `{0}` came more than once")]
    Repeated(HeaderName),
    /// A header of writes on a read, or of values on a delete.
    #[error("the header `{0}` has no meaning for this method")]
    Misplaced(HeaderName),
    /// A value that is not text.
    #[error("the value of `{0}` is not text")]
    NotText(HeaderName),
    /// A value that the header cannot have.
    #[error("the value of `{name}` is not {expected}")]
    Value {
        /// The header.
        name: HeaderName,
        /// What it can have.
        expected: &'static str,
    },
    /// `Soros-Write: blind` beside a token.
    #[error("`soros-write: blind` says that nothing was seen, and `soros-context` what was")]
    BlindWithContext,
    /// A token that is not even base64url.
    #[error("the value of `soros-context` is not a token")]
    Token,
    /// More of a value's own fields than are kept.
    #[error("the `soros-meta-*` headers have {0} bytes, more than {META_BYTES_MAX}")]
    MetaTooLarge(usize),
    /// A type or encoding longer than is kept.
    #[error("the value of `{0}` is longer than {CONTENT_TYPE_BYTES_MAX} bytes")]
    TooLong(HeaderName),
    /// A part of a value: only whole values are written.
    #[error("`content-range` asks for a part of the value to be written: send the whole")]
    Partial,
    /// A header whose meaning is not built.
    #[error("`{0}` is not built yet; nothing was changed")]
    NotBuilt(HeaderName),
    /// A condition on a write.
    #[error(
        "`{0}` on a write needs a bucket with \"consistency\": \"strong\"; nothing was changed"
    )]
    Conditional(HeaderName),
}

impl ReadHeaders {
    /// The headers of a read.
    ///
    /// # Errors
    /// [`HeaderError`] for the first that is refused.
    pub fn of(headers: &HeaderMap) -> Result<ReadHeaders, HeaderError> {
        check_names(headers, Operation::Read)?;
        let read = ReadHeaders {
            options: Options::of(headers)?,
            accept: Accept::of(&headers.get_all(ACCEPT)),
            conditions: Conditions::of(headers)?,
        };
        check_built(headers)?;
        Ok(read)
    }
}

impl WriteHeaders {
    /// The headers of a write or delete.
    ///
    /// # Errors
    /// [`HeaderError`] for the first that is refused.
    pub fn of(headers: &HeaderMap, operation: Operation) -> Result<WriteHeaders, HeaderError> {
        check_names(headers, operation)?;
        let options = Options::of(headers)?;
        let blind = flag(headers, SOROS_WRITE, "blind", "`blind`")?;
        if blind && options.token.is_some() {
            return Err(HeaderError::BlindWithContext);
        }
        let description = match operation {
            Operation::Put => Description::of(headers)?,
            Operation::Read | Operation::Delete => Description::default(),
        };
        check_built(headers)?;
        check_unconditional(headers)?;
        Ok(WriteHeaders {
            options,
            blind,
            description,
        })
    }
}

impl Options {
    fn of(headers: &HeaderMap) -> Result<Options, HeaderError> {
        Ok(Options {
            token: token(headers)?,
            consistency: consistency(headers)?,
            redirect: flag(headers, SOROS_ROUTE, "redirect", "`redirect`")?,
        })
    }
}

impl Description {
    fn of(headers: &HeaderMap) -> Result<Description, HeaderError> {
        if headers.contains_key(CONTENT_RANGE) {
            return Err(HeaderError::Partial);
        }
        let content_type = word(headers, CONTENT_TYPE)?.unwrap_or_default();
        if CONTENT_TYPE_BYTES_MAX < content_type.len() {
            return Err(HeaderError::TooLong(CONTENT_TYPE));
        }
        Ok(Description {
            content_type: content_type.to_owned(),
            content_encoding: content_encoding(headers)?,
            meta: meta(headers)?,
        })
    }

    /// The media type, or the default.
    #[must_use]
    pub fn media_type(&self) -> &str {
        if self.content_type.is_empty() {
            CONTENT_TYPE_DEFAULT
        } else {
            &self.content_type
        }
    }
}

/// Each `Soros-*` header is one there is.
///
/// # Errors
/// [`HeaderError::Unknown`] for the first that is not.
pub fn check_known(headers: &HeaderMap) -> Result<(), HeaderError> {
    check_names(headers, Operation::Put)
}

/// Each `Soros-*` header is one there is, and has a meaning for the operation.
fn check_names(headers: &HeaderMap, operation: Operation) -> Result<(), HeaderError> {
    headers.keys().try_for_each(|name| match name.as_str() {
        "soros-context" | "soros-consistency" | "soros-route" | "soros-session" => Ok(()),
        "soros-write" | "soros-ttl" => placed(operation != Operation::Read, name),
        text if text.starts_with(META_PREFIX) => placed(operation == Operation::Put, name),
        text if text.starts_with(SOROS_PREFIX) => Err(HeaderError::Unknown(name.clone())),
        _ => Ok(()),
    })
}

fn placed(has_meaning: bool, name: &HeaderName) -> Result<(), HeaderError> {
    if has_meaning {
        Ok(())
    } else {
        Err(HeaderError::Misplaced(name.clone()))
    }
}

/// Nothing is asked for whose meaning is not built; what could never be meant is refused as that.
fn check_built(headers: &HeaderMap) -> Result<(), HeaderError> {
    let expected = "a whole number of seconds from 1 to ten years";
    let seconds = |text: &str| {
        text.parse()
            .is_ok_and(|ttl| (1..=TTL_SECONDS_MAX).contains(&ttl))
    };
    let is_ttl = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && seconds(text);
    unbuilt(headers, SOROS_TTL, is_ttl, expected)?;
    let expected = "1 to 64 visible ASCII characters";
    let is_key = |text: &str| {
        (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    unbuilt(headers, IDEMPOTENCY_KEY, is_key, expected)?;
    unbuilt(headers, SOROS_SESSION, |_| true, "a session's token")
}

fn unbuilt(
    headers: &HeaderMap,
    name: HeaderName,
    is_valid: impl Fn(&str) -> bool,
    expected: &'static str,
) -> Result<(), HeaderError> {
    match word(headers, name.clone())? {
        None => Ok(()),
        Some(text) if is_valid(text) => Err(HeaderError::NotBuilt(name)),
        Some(_) => Err(HeaderError::Value { name, expected }),
    }
}

/// A condition that is only looked at before the write could be overtaken before it is stored.
fn check_unconditional(headers: &HeaderMap) -> Result<(), HeaderError> {
    [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE]
        .into_iter()
        .try_for_each(|name| {
            if headers.contains_key(&name) {
                Err(HeaderError::Conditional(name))
            } else {
                Ok(())
            }
        })
}

fn token(headers: &HeaderMap) -> Result<Option<Vec<u8>>, HeaderError> {
    let Some(value) = single(headers, SOROS_CONTEXT)? else {
        return Ok(None);
    };
    // Four letters are three bytes: what is longer is not worth decoding.
    if TOKEN_BYTES_MAX.div_ceil(3) * 4 < value.len() {
        return Err(HeaderError::Token);
    }
    let bytes = URL_SAFE_NO_PAD.decode(value.as_bytes());
    bytes.map(Some).map_err(|_| HeaderError::Token)
}

fn consistency(headers: &HeaderMap) -> Result<Consistency, HeaderError> {
    let expected = "`one`, `quorum` or `all`";
    match word(headers, SOROS_CONSISTENCY)? {
        None => Ok(Consistency::default()),
        Some("one") => Ok(Consistency::One),
        Some("quorum") => Ok(Consistency::Quorum),
        Some("all") => Ok(Consistency::All),
        Some(_) => Err(HeaderError::Value {
            name: SOROS_CONSISTENCY,
            expected,
        }),
    }
}

/// Whether the header has the one value it can have.
fn flag(
    headers: &HeaderMap,
    name: HeaderName,
    value: &str,
    expected: &'static str,
) -> Result<bool, HeaderError> {
    match word(headers, name.clone())? {
        None => Ok(false),
        Some(text) if text == value => Ok(true),
        Some(_) => Err(HeaderError::Value { name, expected }),
    }
}

/// The encodings in the order they were applied; `identity` says that there is none.
fn content_encoding(headers: &HeaderMap) -> Result<Option<String>, HeaderError> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value
            .to_str()
            .map_err(|_| HeaderError::NotText(CONTENT_ENCODING))?;
        codings.extend(text.split(',').map(str::trim));
    }
    codings.retain(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
    let joined = codings.join(", ");
    if CONTENT_TYPE_BYTES_MAX < joined.len() {
        return Err(HeaderError::TooLong(CONTENT_ENCODING));
    }
    Ok((!joined.is_empty()).then_some(joined))
}

fn meta(headers: &HeaderMap) -> Result<Vec<(String, String)>, HeaderError> {
    let mut fields = Vec::new();
    let mut bytes = 0;
    for name in headers.keys() {
        let Some(own) = name.as_str().strip_prefix(META_PREFIX) else {
            continue;
        };
        if own.is_empty() {
            return Err(HeaderError::Unknown(name.clone()));
        }
        let Some(value) = single(headers, name.clone())? else {
            continue;
        };
        bytes += name.as_str().len() + value.len();
        let text = std::str::from_utf8(value.as_bytes());
        let text = text.map_err(|_| HeaderError::NotText(name.clone()))?;
        fields.push((own.to_owned(), text.to_owned()));
    }
    if META_BYTES_MAX < bytes {
        return Err(HeaderError::MetaTooLarge(bytes));
    }
    Ok(fields)
}

/// The value of a header that may come once.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, HeaderError> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(HeaderError::Repeated(name)),
        None => Ok(first),
    }
}

/// The value, in visible ASCII, of a header that may come once.
fn word(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, HeaderError> {
    let value = single(headers, name.clone())?;
    let text = value.map(HeaderValue::to_str).transpose();
    text.map_err(|_| HeaderError::NotText(name))
}

#[cfg(test)]
mod tests;
