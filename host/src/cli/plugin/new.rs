//! This is `soros plugin new`: a crate with one trait to fill, which compiles and passes its tests
//! at once. The SDK comes along in a folder of its own, as this program has it, so that neither a
//! checkout nor a registry is needed for it, and the two fit each other.

use super::super::Failure;
use super::super::console::Console;
use clap::{Args, ValueEnum};
use soros_core::map::plugin::PluginName;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(in crate::cli) struct NewArgs {
    /// What it is called: the crate, its folder and the plugin
    name: PluginName,
    /// What it decides
    #[arg(long, value_enum)]
    kind: Kind,
    /// The SDK of a checkout, instead of a copy of this program's
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Validation,
    Resolution,
    Placement,
}

/// The files of a crate that are the same for all kinds.
const MANIFEST: &str = include_str!("new/manifest.toml");
const PAGE: &str = include_str!("new/page.md");
const IGNORED: &str = include_str!("new/ignored.txt");

/// The SDK's files, by their paths in its folder.
const SDK: [(&str, &str); 16] = [
    ("Cargo.toml", include_str!("new/sdk.toml")),
    (
        "LICENSE-APACHE",
        include_str!("../../../../sdk/LICENSE-APACHE"),
    ),
    ("LICENSE-MIT", include_str!("../../../../sdk/LICENSE-MIT")),
    (
        "wit/v1/policy.wit",
        include_str!("../../../../sdk/wit/v1/policy.wit"),
    ),
    ("src/lib.rs", include_str!("../../../../sdk/src/lib.rs")),
    ("src/json.rs", include_str!("../../../../sdk/src/json.rs")),
    ("src/log.rs", include_str!("../../../../sdk/src/log.rs")),
    (
        "src/policy.rs",
        include_str!("../../../../sdk/src/policy.rs"),
    ),
    (
        "src/placement.rs",
        include_str!("../../../../sdk/src/placement.rs"),
    ),
    (
        "src/resolution.rs",
        include_str!("../../../../sdk/src/resolution.rs"),
    ),
    (
        "src/validation.rs",
        include_str!("../../../../sdk/src/validation.rs"),
    ),
    (
        "src/testing.rs",
        include_str!("../../../../sdk/src/testing.rs"),
    ),
    (
        "src/bindings.rs",
        include_str!("../../../../sdk/src/bindings.rs"),
    ),
    (
        "src/bindings/placement.rs",
        include_str!("../../../../sdk/src/bindings/placement.rs"),
    ),
    (
        "src/bindings/resolution.rs",
        include_str!("../../../../sdk/src/bindings/resolution.rs"),
    ),
    (
        "src/bindings/validation.rs",
        include_str!("../../../../sdk/src/bindings/validation.rs"),
    ),
];

impl Kind {
    /// The policy and its sample calls.
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Kind::Validation => (
                include_str!("new/validation.rs"),
                include_str!("new/validation.ndjson"),
            ),
            Kind::Resolution => (
                include_str!("new/resolution.rs"),
                include_str!("new/resolution.ndjson"),
            ),
            Kind::Placement => (
                include_str!("new/placement.rs"),
                include_str!("new/placement.ndjson"),
            ),
        }
    }
}

impl NewArgs {
    pub(super) fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let folder = PathBuf::from(self.name.as_str());
        let failed = |error| Failure::File(folder.clone(), error);
        if fs::exists(&folder).map_err(failed)? {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let sdk = self.sdk.as_deref().map(checkout).transpose()?;
        write(&folder, &self.files(sdk.as_deref())).map_err(failed)?;
        console.line(&format!("{} is there. Next:", folder.display()))?;
        console.line("")?;
        console.line(&format!("    cd {}", self.name))?;
        console.line("    soros plugin build")?;
        console.line("    soros plugin test")?;
        Ok(())
    }

    fn files(&self, sdk: Option<&Path>) -> Vec<(String, String)> {
        let name = self.name.as_str();
        let own = |text: &str| {
            text.replace("my-plugin", name)
                .replace("MyPlugin", &type_name(name))
        };
        let (policy, samples) = self.kind.files();
        let mut manifest = own(MANIFEST);
        if let Some(sdk) = sdk {
            manifest = manifest.replace(
                "\"soros-sdk\" }",
                &format!("{:?} }}", sdk.to_string_lossy()),
            );
        }
        let mut files = vec![
            ("Cargo.toml".to_owned(), manifest),
            ("README.md".to_owned(), own(PAGE)),
            (".gitignore".to_owned(), IGNORED.to_owned()),
            ("samples.ndjson".to_owned(), samples.to_owned()),
            ("src/lib.rs".to_owned(), own(policy)),
        ];
        if sdk.is_none() {
            let copied = SDK.map(|(path, text)| (format!("soros-sdk/{path}"), text.to_owned()));
            files.extend(copied);
        }
        files
    }
}

/// The SDK's folder, as any folder may name it.
fn checkout(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::File(path.to_owned(), error);
    let sdk = path.canonicalize().map_err(failed)?;
    if !fs::exists(sdk.join("wit/v1/policy.wit")).map_err(failed)? {
        let reason = "it is not the folder `sdk` of a checkout of Soros";
        return Err(failed(io::Error::other(reason)));
    }
    Ok(sdk)
}

fn write(folder: &Path, files: &[(String, String)]) -> io::Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// `my-plugin` as a type is called, `MyPlugin`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_as_types_are() {
        assert_eq!(type_name("order-total-2"), "OrderTotal2");
        assert_eq!(type_name("a--b"), "AB");
    }

    #[test]
    fn the_copied_sdk_is_the_sdk() {
        let ours = include_str!("../../../../Cargo.toml");
        let wit_bindgen = ours
            .lines()
            .find_map(|line| line.strip_prefix("wit-bindgen = { version = \""));
        let version = wit_bindgen.and_then(|line| line.split('"').next());
        let (_, manifest) = SDK[0];
        let line = format!(
            "wit-bindgen = {{ version = \"{}\"",
            version.expect("a version")
        );
        assert!(manifest.contains(&line), "{line}");
        let package = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(manifest.contains(&package), "{package}");
        let modules = SDK
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("src/")?.strip_suffix(".rs"))
            .filter(|path| !path.contains('/') && *path != "lib");
        let root = include_str!("../../../../sdk/src/lib.rs");
        let declared = root
            .lines()
            .filter(|line| line.contains("mod ") && line.ends_with(';'));
        assert_eq!(modules.count(), declared.count());
    }
}
