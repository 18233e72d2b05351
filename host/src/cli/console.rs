//! This is where the command line reads and writes: the three standard streams, and how what is
//! written should look.

use serde_json::Value;
use std::io::{self, Read, Write};

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Who is at the other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    /// A person at a terminal.
    Person,
    /// A file or a program.
    Program,
}

impl Party {
    fn at(stream: &impl io::IsTerminal) -> Party {
        if stream.is_terminal() {
            Party::Person
        } else {
            Party::Program
        }
    }
}

/// The streams of a command, and what is known of who reads them.
pub struct Console {
    input: Box<dyn Read + Send>,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Who writes what is read.
    writer: Party,
    /// Who reads the messages.
    reader: Party,
    /// How results are shown.
    pub(super) output: Output,
    /// Whether headers of interest are shown.
    pub(super) verbose: bool,
    /// Whether messages may be coloured.
    pub(super) color: bool,
    /// Whether the last line on the terminal is one that the next may replace.
    line_is_open: bool,
}

impl Console {
    /// The console of this process.
    #[must_use]
    pub fn of_process() -> Console {
        let reader = Party::at(&io::stderr());
        Console {
            input: Box::new(io::stdin()),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            writer: Party::at(&io::stdin()),
            reader,
            output: Output::Table,
            verbose: false,
            color: reader == Party::Person,
            line_is_open: false,
        }
    }

    /// A console of buffers, which no person reads.
    #[cfg(test)]
    pub(crate) fn of_buffers(input: Vec<u8>, out: Buffer, err: Buffer) -> Console {
        Console {
            input: Box::new(io::Cursor::new(input)),
            out: Box::new(out),
            err: Box::new(err),
            writer: Party::Program,
            reader: Party::Program,
            output: Output::Table,
            verbose: false,
            color: false,
            line_is_open: false,
        }
    }

    /// Reads all input, at most `max` bytes of it and one more.
    pub(super) fn read_input(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.writer == Party::Person {
            self.message("reading the value from the terminal; Ctrl-D on an empty line ends it")?;
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        self.input.by_ref().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes bytes to standard output as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.close_line()?;
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Writes a line to standard output.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// Writes a JSON document to standard output.
    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(&format!("{value:#}"))
    }

    /// Says to programs what was removed; people have asked for it.
    pub(super) fn removed(&mut self, name: &str) -> io::Result<()> {
        match self.output {
            Output::Json => self.json(&serde_json::json!({ "removed": name })),
            Output::Table => Ok(()),
        }
    }

    /// Writes a line to standard error.
    pub(super) fn message(&mut self, line: &str) -> io::Result<()> {
        self.close_line()?;
        writeln!(self.err, "{line}")
    }

    /// Writes a line to standard error that begins with a word in colour.
    pub(super) fn labelled(&mut self, label: Label, text: &str) -> io::Result<()> {
        let (word, color) = match label {
            Label::Error => ("error", "\x1b[1;31m"),
            Label::Next => ("next", "\x1b[1;36m"),
        };
        if self.color {
            self.message(&format!("{color}{word}:\x1b[0m {text}"))
        } else {
            self.message(&format!("{word}: {text}"))
        }
    }

    /// Says how far long work has come: in place on a terminal, in plain lines elsewhere.
    pub(super) fn progress(&mut self, text: &str) -> io::Result<()> {
        if self.reader == Party::Program {
            return writeln!(self.err, "{text}");
        }
        self.line_is_open = true;
        write!(self.err, "\r\x1b[K{text}")?;
        self.err.flush()
    }

    /// Takes the line of progress away before something else is written.
    fn close_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.line_is_open) {
            write!(self.err, "\r\x1b[K")?;
        }
        Ok(())
    }
}

/// The first word of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    /// What went wrong.
    Error,
    /// What to do about it.
    Next,
}

/// Bytes that a test looks at.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Buffer(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Buffer {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no test panicked").clone()
    }
}

#[cfg(test)]
impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
