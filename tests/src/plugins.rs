//! This is plugins to try a cluster with.

use crate::http::{Answer, Http};
use hyper::Method;
use std::path::Path;

/// A validator that puts its version before every value under `a/` and `b/`, when its config is
/// `"stamp"`.
///
/// # Panics
/// When `version` is not as long as the one it was built with, or it was not built.
#[must_use]
pub fn stamping(version: &str) -> Vec<u8> {
    renamed(misbehaving("validation"), "0.1.0", version)
}

/// The component of a kind that misbehaves as its config says.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn misbehaving(kind: &str) -> Vec<u8> {
    let name = format!("misbehaving-{kind}.wasm");
    let path = Path::new(env!("SOROS_TEST_PLUGINS")).join(name);
    std::fs::read(path).expect("the host's build script made it")
}

/// The component with another version in its data.
///
/// # Panics
/// When the versions are not of one length, or the component does not name the first.
#[must_use]
pub fn renamed(mut component: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a component's layout stays as it is");
    let places: Vec<usize> = (0..component.len() - from.len())
        .filter(|&at| component[at..].starts_with(from.as_bytes()))
        .collect();
    assert!(
        !places.is_empty(),
        "the component does not name its version"
    );
    for at in places {
        component[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    component
}

/// Pushes a component.
///
/// # Panics
/// When there is no answer.
pub async fn push(http: &mut Http, name: &str, version: &str, component: Vec<u8>) -> Answer {
    let path = format!("/v1/plugins/{name}/{version}");
    let answer = http.send(Method::PUT, &path, &[], component).await;
    answer.expect("an answer")
}

/// Lets a version come into force.
///
/// # Panics
/// When there is no answer.
pub async fn activate(http: &mut Http, name: &str, version: &str) -> Answer {
    let path = format!("/v1/plugins/{name}/activate");
    let body = format!(r#"{{"version":"{version}"}}"#);
    let answer = http.send(Method::POST, &path, &[], body).await;
    answer.expect("an answer")
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn renames_every_version() {
        let renamed = renamed(b"\x050.1.0 0.1.0.".to_vec(), "0.1.0", "7.8.9");
        assert_eq!(renamed, b"\x057.8.9 7.8.9.");
    }
}
