//! This is what a request's headers ask of the map's epoch.

use super::refusal::Refusal;
use super::{is_read, render};
use crate::network::Response;
use http::header::{
    ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use soros_core::epoch::Epoch;

/// The condition of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnlyAt(Vec<Epoch>);

impl OnlyAt {
    /// The epoch to make the change at: this one, if it is allowed, else one at which it fails.
    pub(super) fn epoch(&self, now: Epoch) -> Epoch {
        if self.0.contains(&now) {
            now
        } else {
            self.0.iter().copied().max().unwrap_or_default()
        }
    }
}

/// The epochs at which a change may be made; `None` at any. `*` is any epoch: there is a map.
pub(super) fn only_at(headers: &HeaderMap, now: Epoch) -> Result<Option<OnlyAt>, Refusal> {
    for name in [IF_NONE_MATCH, IF_UNMODIFIED_SINCE, IF_MODIFIED_SINCE] {
        if headers.contains_key(&name) {
            return Err(Refusal::NotBuilt(
                "A change on another condition than `If-Match`",
            ));
        }
    }
    tags(headers, &IF_MATCH, now).map(|tags| tags.map(OnlyAt))
}

/// The answer to a read: refused to who sent `If-Match` and means another, and none to who sent
/// `If-None-Match` and has it already.
pub(super) fn unless_known(parts: &Parts, response: Response) -> Result<Response, Refusal> {
    let tag = response
        .headers()
        .get(ETAG)
        .and_then(|tag| tag.to_str().ok());
    let Some(now) = tag.map(epoch_of).filter(|_| is_read(&parts.method)) else {
        return Ok(response);
    };
    if tags(&parts.headers, &IF_MATCH, now)?.is_some_and(|tags| !tags.contains(&now)) {
        return Err(Refusal::Moved(now));
    }
    if is_known(&parts.headers, now)? {
        return Ok(render::empty(StatusCode::NOT_MODIFIED, now));
    }
    Ok(response)
}

fn is_known(headers: &HeaderMap, now: Epoch) -> Result<bool, Refusal> {
    Ok(tags(headers, &IF_NONE_MATCH, now)?.is_some_and(|tags| tags.contains(&now)))
}

/// The epochs that a header of entity tags names. A tag that is no epoch never was one of ours, and
/// a weak one is none to rely on: they count as the epoch before any map.
fn tags(headers: &HeaderMap, name: &HeaderName, now: Epoch) -> Result<Option<Vec<Epoch>>, Refusal> {
    let mut epochs = None;
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| Refusal::Header(name.clone()))?;
        for tag in value.split(',').map(str::trim) {
            let epoch = match tag {
                "" => return Err(Refusal::Header(name.clone())),
                "*" => now,
                _ => epoch_of(tag),
            };
            epochs.get_or_insert_with(Vec::new).push(epoch);
        }
    }
    Ok(epochs)
}

fn epoch_of(tag: &str) -> Epoch {
    let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let digits = quoted.unwrap_or(tag);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|_| is_number)
        .map(Epoch)
        .unwrap_or_default()
}

/// Refuses the headers of the key-value API: here they would mean nothing.
pub(super) fn refuse_foreign_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key("soros-session") {
        return Err(Refusal::NotBuilt("A session that is sent back"));
    }
    match headers
        .keys()
        .find(|name| name.as_str().starts_with("soros-"))
    {
        Some(name) => Err(Refusal::Header(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], epoch: Option<u64>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        let now = Epoch(7);
        let only_at = only_at(&headers, now).unwrap();
        assert_eq!(
            only_at.map(|only| only.epoch(now)),
            epoch.map(Epoch),
            "{values:?}"
        );
    }

    #[test]
    fn reads_the_epochs_at_which_a_change_may_be_made() {
        check(&[], None);
        check(&["\"7\""], Some(7));
        check(&["7"], Some(7));
        check(&["*"], Some(7));
        check(&["\"5\", \"7\""], Some(7));
        check(&["\"5\"", "\"6\""], Some(6));
        check(&["W/\"7\""], Some(0));
        check(&["\"abc\""], Some(0));
        check(&["\"+7\""], Some(0));
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, "*".parse().unwrap());
        assert!(matches!(
            only_at(&headers, Epoch(7)),
            Err(Refusal::NotBuilt(_))
        ));
        assert!(is_known(&headers, Epoch(7)).unwrap());
        headers.insert(IF_NONE_MATCH, "\"6\"".parse().unwrap());
        assert!(!is_known(&headers, Epoch(7)).unwrap());
        headers.insert(IF_MATCH, ",".parse().unwrap());
        headers.remove(IF_NONE_MATCH);
        assert!(matches!(
            only_at(&headers, Epoch(7)),
            Err(Refusal::Header(_))
        ));
        assert!(refuse_foreign_headers(&headers).is_ok());
        headers.insert("soros-context", "x".parse().unwrap());
        assert!(refuse_foreign_headers(&headers).is_err());
    }
}
