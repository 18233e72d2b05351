//! This is the default policies in plain Rust: what simulations run, and what the shipped
//! components are compared with. They favour being plainly right over being fast.

mod balanced;
mod flow;

pub use balanced::Balanced;

use crate::policy::{PolicyError, Resolution, Resolved, Sibling};

/// The last writer wins: the greatest sibling, which is the latest, and of several at one time the
/// one of the greatest writer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lww;

impl Resolution for Lww {
    fn resolve(&self, _key: &[u8], siblings: &[Sibling<'_>]) -> Result<Resolved, PolicyError> {
        let greatest = siblings
            .iter()
            .enumerate()
            .max_by(|(_, left), (_, right)| left.cmp(right));
        Ok(greatest.map_or(Resolved::KeepAll, |(place, _)| Resolved::Keep(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(time: u64, writer: u64, value: Option<&[u8]>) -> Sibling<'_> {
        Sibling {
            time,
            writer,
            value,
            content_type: "text/plain",
            meta: Vec::new(),
        }
    }

    #[track_caller]
    fn check(siblings: &[Sibling<'_>], expected: Resolved) {
        assert_eq!(Lww.resolve(b"key", siblings), Ok(expected));
    }

    #[test]
    fn keeps_the_latest_write() {
        let (old, new) = (sibling(1, 9, Some(b"z")), sibling(2, 1, None));
        check(&[old.clone(), new.clone()], Resolved::Keep(1));
        check(&[new, old], Resolved::Keep(0));
    }

    #[test]
    fn breaks_ties_by_writer_and_then_for_the_greater_value() {
        check(
            &[sibling(1, 2, Some(b"a")), sibling(1, 1, Some(b"b"))],
            Resolved::Keep(0),
        );
        check(
            &[sibling(1, 1, None), sibling(1, 1, Some(b""))],
            Resolved::Keep(1),
        );
        check(
            &[sibling(1, 1, Some(b"b")), sibling(1, 1, Some(b"a"))],
            Resolved::Keep(0),
        );
    }

    #[test]
    fn leaves_nothing_alone() {
        check(&[], Resolved::KeepAll);
    }
}
