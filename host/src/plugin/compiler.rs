//! This is who turns components into native code: for what ships this process itself, for all else
//! a child of it, because a component can be made to cost any amount of time and memory to compile.
//!
//! The child is this program again. It bounds itself before it reads a byte, is ended when its time
//! is up, and hands its code over through a pipe. Native code comes from there or from the node's
//! own store of it, sealed; never from a network.

use super::engine::Host;
use super::error::AdmissionError;
use super::limits::{
    COMPILE_MEMORY_BYTES_MAX, COMPILE_THREADS, COMPILE_TIME_MAX, COMPILE_WAIT_MAX,
    COMPONENT_BYTES_MAX, NATIVE_BYTES_MAX, TEXT_BYTES_MAX,
};
use super::log::shortened;
use crate::store::native::{NativeCode, NativeName};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use soros_core::map::plugin::{PluginDigest, PluginKind};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

/// Who compiles what does not ship.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process.
    Here,
    /// A child that runs this program.
    Child(PathBuf),
}

/// Why a component could not be compiled within bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompilerError {
    /// It took too long.
    #[error(
        "it does not compile within {} s: make it smaller, or its largest functions",
        COMPILE_TIME_MAX.as_secs()
    )]
    TooSlow,
    /// It becomes more native code than a component may have.
    #[error("it compiles to more than {NATIVE_BYTES_MAX} bytes of native code: make it smaller")]
    TooMuchCode,
    /// The compiler ended, as it does when it needs too much memory.
    #[error(
        "it does not compile within {COMPILE_MEMORY_BYTES_MAX} bytes of memory, or at all: make it \
         smaller, or its largest functions ({0})"
    )]
    Ended(String),
    /// The compiler could not be run.
    #[error("the compiler could not be run: {0}")]
    NotRun(String),
}

impl From<io::Error> for CompilerError {
    fn from(error: io::Error) -> CompilerError {
        CompilerError::NotRun(error.to_string())
    }
}

/// How a child says what it is to compile for.
fn word(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Placement => "placement",
        PluginKind::Resolution => "resolution",
        PluginKind::Validation => "validation",
    }
}

/// The first byte of what a child says: code follows, or what is wrong with the component.
const CODE: u8 = 1;
const COMPLAINT: u8 = 0;
/// How far a child stands back for the processes that serve.
const NICENESS: i32 = 5;

/// Native code, in the words of a child.
enum Said {
    Code(Vec<u8>),
    Complaint(String),
}

impl Compiler {
    /// The component, compiled for `host`, or as `native` has it from before.
    pub(super) fn component(
        &self,
        host: &Host,
        kind: PluginKind,
        bytes: &[u8],
        native: Option<&NativeCode>,
    ) -> Result<Component, AdmissionError> {
        let Some(native) = native else {
            return self.compiled(host, kind, bytes);
        };
        let name = name_of(host, bytes);
        let code = native.read(&name, NATIVE_BYTES_MAX);
        if let Some(component) = code.and_then(|code| deserialize(host, &code).ok()) {
            return Ok(component);
        }
        let component = self.compiled(host, kind, bytes)?;
        let kept = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| native.write(&name, &code));
        if let Err(error) = kept {
            tracing::warn!(%error, "native code is not kept: the next start compiles again");
        }
        Ok(component)
    }

    fn compiled(
        &self,
        host: &Host,
        kind: PluginKind,
        bytes: &[u8],
    ) -> Result<Component, AdmissionError> {
        let invalid =
            |error: wasmtime::Error| AdmissionError::Invalid(shortened(&format!("{error:#}")));
        match self {
            Compiler::Here => Component::from_binary(&host.engine, bytes).map_err(invalid),
            Compiler::Child(program) => {
                match compile_in_child(&mut child(program, kind), bytes, COMPILE_WAIT_MAX)? {
                    Said::Code(native) => deserialize(host, &native).map_err(invalid),
                    Said::Complaint(text) => Err(AdmissionError::Invalid(text)),
                }
            }
        }
    }
}

/// A hasher that gives the same in every process that runs this program.
struct Settings(blake3::Hasher);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}

/// What the native code of a component depends on: its bytes, the engine's version, its settings,
/// the processor.
fn name_of(host: &Host, bytes: &[u8]) -> NativeName {
    let mut settings = Settings(blake3::Hasher::new());
    host.engine
        .precompile_compatibility_hash()
        .hash(&mut settings);
    NativeName {
        component: PluginDigest(*blake3::hash(bytes).as_bytes()),
        settings: *settings.0.finalize().as_bytes(),
    }
}

/// Makes a component of the code that this program or its own child has made.
#[expect(
    unsafe_code,
    reason = "the code is as trusted as this program, which made it"
)]
fn deserialize(host: &Host, native: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were written by `compile_here` in a child that runs this very program, and
    // came through a pipe that nobody else holds; or this node has kept them in files that its own
    // user alone may touch, and they carry the seal of its key.
    unsafe { Component::deserialize(&host.engine, native) }
}

/// This program, to do the work of [`compile_here`].
fn child(program: &Path, kind: PluginKind) -> Command {
    let mut child = Command::new(program);
    child
        .args(["internal", "compile", word(kind)])
        .env("RAYON_NUM_THREADS", COMPILE_THREADS.to_string())
        .env("RUST_BACKTRACE", "0");
    child
}

fn compile_in_child(
    child: &mut Command,
    bytes: &[u8],
    longest: Duration,
) -> Result<Said, CompilerError> {
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (input, output, complaints) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A child that ends early does not read all of it.
        scope.spawn(move || input.map(|mut input| input.write_all(bytes)));
        let complaints = scope.spawn(move || complaints.map(|from| read(from, 4 << 10)));
        let said = scope.spawn(move || output.map(heard));
        let status = wait(&mut child, longest);
        let complaints = complaints.join().ok().flatten().unwrap_or_default();
        let said = said.join().ok().flatten();
        let status = status?.ok_or(CompilerError::TooSlow)?;
        match said {
            Some(Ok(said)) if status.success() => Ok(said),
            Some(Err(error @ CompilerError::TooMuchCode)) => Err(error),
            Some(Err(error)) if status.success() => Err(error),
            _ => Err(end_of(status, &complaints)),
        }
    })
}

/// Why a child that did not do its work has ended.
fn end_of(status: ExitStatus, complaints: &[u8]) -> CompilerError {
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return CompilerError::TooSlow;
    }
    let complaints = shortened(String::from_utf8_lossy(complaints).trim());
    CompilerError::Ended(format!("{status} {complaints}").trim().to_owned())
}

/// What a child says. It is heard out up to the most that it may say.
fn heard(mut from: impl Read) -> Result<Said, CompilerError> {
    let nothing = |_| CompilerError::Ended("the compiler said nothing".to_owned());
    let mut first = [0];
    from.read_exact(&mut first).map_err(nothing)?;
    let said = read(from, NATIVE_BYTES_MAX + 1);
    match first {
        [CODE] if NATIVE_BYTES_MAX < said.len() => Err(CompilerError::TooMuchCode),
        [CODE] => Ok(Said::Code(said)),
        [COMPLAINT] => {
            let end = said.len().min(TEXT_BYTES_MAX);
            Ok(Said::Complaint(shortened(&String::from_utf8_lossy(
                &said[..end],
            ))))
        }
        [other] => Err(CompilerError::Ended(format!("the compiler said {other}"))),
    }
}

/// Waits for a child, and ends it when its time is up.
fn wait(child: &mut Child, longest: Duration) -> io::Result<Option<ExitStatus>> {
    const STEP: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if longest < begun.elapsed() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(STEP);
    }
}

/// What is there to read, at most `bytes_max` of it.
fn read(from: impl Read, bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What could not be read is missing, and that is found out.
    let _ = from.take(bytes_max as u64).read_to_end(&mut bytes);
    bytes
}

/// Does a child's work: bounds itself, reads a component, and writes its native code.
///
/// # Errors
/// When the streams break, or there is no engine.
pub fn compile_here(kind: &str, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let kinds = [
        PluginKind::Placement,
        PluginKind::Resolution,
        PluginKind::Validation,
    ];
    let Some(kind) = kinds.into_iter().find(|other| word(*other) == kind) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // It works for whoever waits, and after all who serve.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICENESS)?;
    limit(Resource::As, COMPILE_MEMORY_BYTES_MAX)?;
    limit(Resource::Cpu, COMPILE_TIME_MAX.as_secs())?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let component = read(input, COMPONENT_BYTES_MAX);
    let engine = Host::for_compiling(kind).map_err(io::Error::other)?;
    match engine.precompile_component(&component) {
        Ok(native) => {
            output.write_all(&[CODE])?;
            output.write_all(&native)?;
        }
        Err(error) => {
            output.write_all(&[COMPLAINT])?;
            write!(output, "{error:#}")?;
        }
    }
    output.flush()
}

/// At the first bound the system says which it was; at the second it ends the process. A lower one
/// that is set already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let set = getrlimit(resource);
    if set.current.is_some_and(|current| current < most) {
        return Ok(());
    }
    let maximum = set
        .maximum
        .map_or(most + 1, |most_ever| most_ever.min(most + 1));
    let (current, maximum) = (Some(most), Some(maximum));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

#[cfg(test)]
mod tests;
