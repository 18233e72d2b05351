//! This is the ready file: who serves where, written whole once all of them do, for those who
//! started the nodes and wait.

use serde::Serialize;
use std::io::Write as _;
use std::path::Path;

/// A node that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadyNode {
    /// Its name.
    pub name: String,
    /// The URL of its client listener.
    pub url: String,
    /// Host and port of its peer listener.
    pub peer: String,
}

#[derive(Serialize)]
struct Ready<'a> {
    nodes: &'a [ReadyNode],
}

/// Writes `nodes` into the file at `path`, by rename: a reader sees all of it or nothing.
///
/// # Errors
/// When the disk refuses; then there is no such file, or the one before.
pub fn write_ready_file(path: &Path, nodes: &[ReadyNode]) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    serde_json::to_writer(&mut file, &Ready { nodes })?;
    file.write_all(b"\n")?;
    allow_reading(file.as_file())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A temporary file is its owner's alone; who waits for this one may be somebody else.
#[cfg(unix)]
fn allow_reading(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn allow_reading(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_before_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        let node = ReadyNode {
            name: "n1".to_owned(),
            url: "http://127.0.0.1:7070".to_owned(),
            peer: "127.0.0.1:7071".to_owned(),
        };
        write_ready_file(&path, &[]).expect("the disk");
        write_ready_file(&path, &[node]).expect("the disk");
        let text = std::fs::read_to_string(&path).expect("the file");
        let expected = concat!(
            r#"{"nodes":[{"name":"n1","url":"http://127.0.0.1:7070","peer":"127.0.0.1:7071"}]}"#,
            "\n"
        );
        assert_eq!(text, expected);
        assert_eq!(
            std::fs::read_dir(folder.path())
                .expect("the folder")
                .count(),
            1
        );
    }
}
