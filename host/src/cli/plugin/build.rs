//! This is `soros plugin build`: cargo makes a core module of the crate, and the encoder in this
//! program a component of that. All it needs is Rust with one target.

use super::super::Failure;
use super::super::console::{Console, Output};
use super::super::table;
use crate::plugin::module::{ModuleError, component_of};
use crate::plugin::{AdmissionError, Compiler, Runtime, TARGET};
use clap::Args;
use serde_json::{Value, json};
use soros_core::policy::About;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Args, Debug)]
pub(in crate::cli) struct BuildArgs {
    /// The crate's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component is written; NAME.wasm in the crate's folder unless told otherwise
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program that is not there.
    #[error("{0} does not start: {1}")]
    NoToolchain(String, #[source] io::Error),
    /// The target is not installed.
    #[error("Rust's target {TARGET} is not installed")]
    NoTarget,
    /// Cargo has said why.
    #[error("cargo does not build it: the lines above say why")]
    NotBuilt,
    /// A crate that makes no module.
    #[error(
        "the crate makes no module: its Cargo.toml needs `crate-type = [\"cdylib\", \"rlib\"]`"
    )]
    NoModule,
    /// A module that is no policy.
    #[error("{0}")]
    Module(#[from] ModuleError),
    /// A component that no node would take.
    #[error("no node would take it: {0}")]
    Component(#[from] AdmissionError),
}

impl BuildError {
    /// What to do about it.
    pub(in crate::cli) fn next(&self) -> &'static str {
        match self {
            BuildError::NoToolchain(..) => "Install Rust by rustup: https://rustup.rs",
            BuildError::NoTarget => "Type: rustup target add wasm32-unknown-unknown",
            BuildError::NotBuilt => "Mend what cargo names, then build again.",
            BuildError::NoModule => {
                "`soros plugin new NAME --kind KIND` makes a crate that has it."
            }
            BuildError::Module(_) | BuildError::Component(_) => {
                "Mend what is named, then build again."
            }
        }
    }
}

/// A component that was built.
pub(super) struct Built {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) about: About,
}

impl BuildArgs {
    pub(super) fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let built = build(&self.folder, self.out.as_deref())?;
        let About { name, version, .. } = &built.about;
        let path = built.path.display().to_string();
        let size = json!(built.bytes.len());
        if console.output == Output::Json {
            let said = json!({"path": path, "name": name, "version": version, "size": size});
            return Ok(console.json(&said)?);
        }
        let size = table::bytes(Some(&size));
        console.line(&format!("built {path}: {name} {version}, {size}"))?;
        Ok(console.line("to try it: soros plugin test")?)
    }
}

/// Builds the crate in a folder.
pub(super) fn build(folder: &Path, out: Option<&Path>) -> Result<Built, Failure> {
    let failed = |path: &Path, error| Failure::File(path.to_owned(), error);
    if !fs::exists(folder.join("Cargo.toml")).map_err(|error| failed(folder, error))? {
        let reason = "there is no crate: `soros plugin new NAME --kind KIND` makes one";
        return Err(failed(folder, io::Error::other(reason)));
    }
    demand_target(folder)?;
    let module = module(folder)?;
    let module = fs::read(&module).map_err(|error| failed(&module, error))?;
    let bytes = component_of(&module).map_err(BuildError::Module)?;
    let about = runtime()?.ready(&bytes).map_err(|error| match error {
        AdmissionError::NoPolicy(_) => ModuleError::NoPolicy("it exports none".to_owned()).into(),
        error => BuildError::Component(error),
    })?;
    let about = about.about().clone();
    let path = match out {
        Some(path) => path.to_owned(),
        None => folder.join(format!("{}.wasm", about.name)),
    };
    fs::write(&path, &bytes).map_err(|error| failed(&path, error))?;
    Ok(Built { path, bytes, about })
}

/// The sandbox in which nodes run components.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let compiler = std::env::current_exe().map_or(Compiler::Here, Compiler::Child);
    Runtime::new(compiler).map_err(|error| Failure::BadComponent(error.to_string()))
}

fn program(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

fn not_there(program: &OsString) -> impl Fn(io::Error) -> BuildError {
    let program = program.to_string_lossy().into_owned();
    move |error| BuildError::NoToolchain(program.clone(), error)
}

fn demand_target(folder: &Path) -> Result<(), BuildError> {
    let rustc = program("RUSTC", "rustc");
    let asked = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output();
    let asked = asked.map_err(not_there(&rustc))?;
    let libraries = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if asked.status.success() && Path::new(&libraries).is_dir() {
        return Ok(());
    }
    Err(BuildError::NoTarget)
}

/// Lets cargo build the crate; what it says to people goes where this program's messages go.
fn module(folder: &Path) -> Result<PathBuf, BuildError> {
    let cargo = program("CARGO", "cargo");
    let said = Command::new(&cargo)
        .args(["build", "--release", "--lib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output();
    let said = said.map_err(not_there(&cargo))?;
    if !said.status.success() {
        return Err(BuildError::NotBuilt);
    }
    let lines = said.stdout.split(|byte| *byte == b'\n');
    let modules = lines.filter_map(module_of).collect::<Vec<_>>();
    // The crate itself is built last.
    modules.into_iter().next_back().ok_or(BuildError::NoModule)
}

/// The module that a line of cargo's tells of.
fn module_of(line: &[u8]) -> Option<PathBuf> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let files = line.get("filenames")?.as_array()?.iter();
    let mut paths = files.filter_map(Value::as_str).map(PathBuf::from);
    paths.find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_module_in_what_cargo_says() {
        let line = br#"{"reason":"compiler-artifact","filenames":["/t/a.wasm","/t/liba.rlib"]}"#;
        assert_eq!(module_of(line), Some(PathBuf::from("/t/a.wasm")));
        let rlib = br#"{"reason":"compiler-artifact","filenames":["/t/liba.rlib"]}"#;
        assert_eq!(module_of(rlib), None);
        assert_eq!(
            module_of(br#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(module_of(b""), None);
    }

    #[test]
    fn a_folder_without_a_crate_is_told_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let failure = build(folder.path(), None).err().expect("no crate");
        assert!(
            failure.to_string().contains("soros plugin new"),
            "{failure}"
        );
    }
}
