//! This is whether native code is kept from one start to the next, and whether what is in doubt is
//! compiled anew.

use super::{RESOLUTION, resolve};
use crate::plugin::compiler::CompilerError;
use crate::plugin::{AdmissionError, Compiler, Runtime};
use crate::store::native::NativeCode;
use soros_core::map::json::Json;
use soros_core::policy::Resolved;
use std::path::{Path, PathBuf};

/// A runtime, as a start of a node makes it.
fn started(directory: &Path, compiler: Compiler) -> Runtime {
    let runtime = Runtime::new(compiler).expect("room for engines");
    runtime.keeping(NativeCode::of(directory))
}

/// One that cannot compile what does not ship.
fn without_compiler(directory: &Path) -> Runtime {
    started(directory, Compiler::Child(PathBuf::from("/nowhere/soros")))
}

/// What becomes of two siblings in this runtime.
fn asked(runtime: &Runtime) -> Result<Resolved, AdmissionError> {
    let policy = runtime.load(RESOLUTION, &Json::Text("merge".to_owned()))?;
    Ok(resolve(&policy, b"behave").expect("it behaves"))
}

#[test]
fn what_was_compiled_once_is_not_compiled_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = asked(&without_compiler(folder.path()));
    let is_not_run = |refused| {
        matches!(
            refused,
            Err(AdmissionError::Compiler(CompilerError::NotRun(_)))
        )
    };
    assert!(is_not_run(refused));
    let answer = asked(&started(folder.path(), Compiler::Here)).expect("it compiles");
    assert_eq!(asked(&without_compiler(folder.path())), Ok(answer.clone()));
    let files = std::fs::read_dir(folder.path().join("native")).expect("a folder");
    let mut files = files.map(|entry| entry.expect("a file").path());
    let code = files
        .find(|path| path.extension().is_some())
        .expect("its code");
    let mut bytes = std::fs::read(&code).expect("readable");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&code, bytes).expect("writable");
    assert!(is_not_run(asked(&without_compiler(folder.path()))));
    assert_eq!(
        asked(&started(folder.path(), Compiler::Here)),
        Ok(answer.clone())
    );
    assert_eq!(asked(&without_compiler(folder.path())), Ok(answer));
}

#[test]
fn a_folder_that_cannot_be_written_only_costs_time() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("native"), b"a file").expect("writable");
    assert!(asked(&started(folder.path(), Compiler::Here)).is_ok());
    assert!(asked(&without_compiler(folder.path())).is_err());
}
