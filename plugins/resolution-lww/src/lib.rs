//! This is `lww`: the last writer wins, by the hybrid logical clock.
//!
//! Of writes at one time the one of the greatest node wins; of those, a value before a tombstone
//! and the greater before the lesser, so that the answer depends on the set of siblings alone. It
//! does without the bytes of values: siblings come sorted, so of several that look alike the last
//! has the greatest value.

use soros_sdk::resolution::{Resolution, Resolved, Sibling, Wants};
use soros_sdk::{NoConfig, Policy, Problem};

/// Keeps the latest sibling.
#[derive(Clone, Copy, Debug)]
pub struct Lww;

impl Policy for Lww {
    const NAME: &'static str = "lww";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Lww, Vec<Problem>> {
        Ok(Lww)
    }
}

impl Resolution for Lww {
    fn wants(&self) -> Wants {
        Wants { values: false }
    }

    fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        let age = |sibling: &Sibling| (sibling.time, sibling.writer, sibling.value.is_some());
        let last = (0..).zip(siblings).max_by_key(|(_, sibling)| age(sibling));
        Ok(last.map_or(Resolved::KeepAll, |(position, _)| Resolved::Keep(position)))
    }
}

soros_sdk::export_resolution!(Lww);

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(time: u64, writer: u64, value: Option<&str>) -> Sibling {
        let value = value.map(|text| text.as_bytes().to_vec());
        let (content_type, meta) = ("text/plain".into(), Vec::new());
        Sibling {
            time,
            writer,
            value,
            content_type,
            meta,
        }
    }

    #[track_caller]
    fn check(siblings: &[Sibling], expected: Resolved) {
        assert_eq!(Lww.resolve(b"key", siblings), Ok(expected));
    }

    #[test]
    fn keeps_the_latest_write_whatever_it_is() {
        check(
            &[sibling(2, 1, None), sibling(1, 9, Some("z"))],
            Resolved::Keep(0),
        );
        check(
            &[sibling(1, 1, None), sibling(2, 1, Some("a"))],
            Resolved::Keep(1),
        );
    }

    #[test]
    fn breaks_ties_the_same_way_in_any_order() {
        check(
            &[sibling(1, 1, Some("b")), sibling(1, 2, Some("a"))],
            Resolved::Keep(1),
        );
        check(
            &[sibling(1, 1, Some("")), sibling(1, 1, None)],
            Resolved::Keep(0),
        );
        check(
            &[sibling(1, 1, Some("")), sibling(1, 1, Some(""))],
            Resolved::Keep(1),
        );
        check(&[], Resolved::KeepAll);
    }
}
