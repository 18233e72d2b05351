//! This is who turns components into native code: for what ships this process itself, for all else
//! a child of it, because a component can be made to cost any amount of time and memory to compile.
//!
//! The child is this program again. It bounds itself before it reads a byte, is ended when its time
//! is up, and hands its code over through a pipe: native code never comes from a network or a disk.

use super::engine::Host;
use super::error::AdmissionError;
use super::limits::{
    COMPILE_MEMORY_BYTES_MAX, COMPILE_TIME_MAX, COMPONENT_BYTES_MAX, NATIVE_BYTES_MAX,
};
use super::log::shortened;
use rustix::process::{Resource, Rlimit, setrlimit};
use soros_core::map::plugin::PluginKind;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
    #[error("it does not compile within {} s", COMPILE_TIME_MAX.as_secs())]
    TooSlow,
    /// The compiler ended, as it does when it needs too much memory.
    #[error(
        "it does not compile within {COMPILE_MEMORY_BYTES_MAX} bytes of memory, or at all: {0}"
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

impl Compiler {
    /// The component, compiled for `host`.
    pub(super) fn component(
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
                let native = compile_in_child(program, kind, bytes)?;
                deserialize(host, &native).map_err(invalid)
            }
        }
    }
}

/// Makes a component of the code that this program's own child has just made.
#[expect(
    unsafe_code,
    reason = "the code is as trusted as this program, which made it"
)]
fn deserialize(host: &Host, native: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were written by `compile_here` in a child that runs this very program, and
    // came through a pipe that nobody else holds.
    unsafe { Component::deserialize(&host.engine, native) }
}

fn compile_in_child(
    program: &PathBuf,
    kind: PluginKind,
    bytes: &[u8],
) -> Result<Vec<u8>, AdmissionError> {
    let mut child = Command::new(program)
        .args(["internal", "compile", word(kind)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CompilerError::from)?;
    let (input, output, complaints) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A child that ends early does not read all of it.
        scope.spawn(move || input.map(|mut input| input.write_all(bytes)));
        let complaints = scope.spawn(move || complaints.map(|from| read(from, 4 << 10)));
        let said = scope.spawn(move || output.map(|from| read(from, NATIVE_BYTES_MAX)));
        let status = wait(&mut child);
        let complaints = complaints.join().ok().flatten().unwrap_or_default();
        let said = said.join().ok().flatten().unwrap_or_default();
        let status = status.map_err(CompilerError::from)?;
        let status = status.ok_or(CompilerError::TooSlow)?;
        if !status.success() {
            let complaints = shortened(String::from_utf8_lossy(&complaints).trim());
            return Err(CompilerError::Ended(format!("{status} {complaints}")).into());
        }
        match said.split_first() {
            Some((&CODE, native)) => Ok(native.to_vec()),
            Some((&COMPLAINT, text)) => Err(AdmissionError::Invalid(shortened(
                &String::from_utf8_lossy(text),
            ))),
            _ => Err(CompilerError::Ended("it said nothing".to_owned()).into()),
        }
    })
}

/// Waits for a child, and ends it when its time is up.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    const STEP: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if COMPILE_TIME_MAX < begun.elapsed() {
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
    limit(Resource::As, COMPILE_MEMORY_BYTES_MAX)?;
    limit(Resource::Cpu, COMPILE_TIME_MAX.as_secs())?;
    limit(Resource::Core, 0)?;
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

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let (current, maximum) = (Some(most), Some(most));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}
