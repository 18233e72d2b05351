//! This is the tree as the rules see it: the text files of the repository, by path from its root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// All text files that people write.
pub(crate) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// The files on disk, what is built and what is hidden left out.
    pub(crate) fn read() -> Tree {
        let mut files = Vec::new();
        read_folder(&root(), "", &mut files);
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Tree { files }
    }

    /// The files whose paths end in one of `endings`.
    pub(crate) fn ending_in(&self, endings: &[&str]) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(|file| endings.iter().any(|end| file.path.ends_with(end)))
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The text at `path`, which must be there.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> &str {
        match self.file(path) {
            Some(file) => &file.text,
            None => panic!("{path} is missing"),
        }
    }

    /// The files under the folder `prefix`.
    pub(crate) fn under(&self, prefix: &str) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(move |file| file.path.starts_with(prefix))
    }
}

/// Whether `path` is a file or a folder of the repository.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the root")
        .to_owned()
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a folder that can be read") {
        let entry = entry.expect("an entry that can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("an entry with a type");
        if kind.is_dir() && !is_built_or_hidden(&name) {
            read_folder(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file()
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            files.push(File { path, text });
        }
    }
}

fn is_built_or_hidden(name: &str) -> bool {
    // The last two are what the examples' commands install.
    ["target", "node_modules", "venv"].contains(&name) || (name.starts_with('.') && name != ".ci")
}

/// The paths that git keeps, if this is a checkout and git is there to ask.
pub(crate) fn committed() -> Option<Vec<String>> {
    let answer = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()
        .ok()?;
    let names = String::from_utf8(answer.stdout).ok()?;
    let files: Vec<String> = names.split_terminator('\0').map(str::to_owned).collect();
    (answer.status.success() && !files.is_empty()).then_some(files)
}

/// Whether the file at `path` is not text.
pub(crate) fn is_binary(path: &str) -> bool {
    // A file that git keeps and the disk does not have was deleted, and breaks no rule.
    std::fs::read(root().join(path)).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_err())
        || is_marked_binary(path)
}

fn is_marked_binary(path: &str) -> bool {
    std::fs::read(root().join(path)).is_ok_and(|bytes| bytes.contains(&0))
}
