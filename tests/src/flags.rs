//! These are the flags that a node is started with, and how a process that is expected to end by
//! itself is run to its end.

use crate::binary::soros;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a node's process is started. The same flags start it every time.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Its name; none leaves it to the directory.
    pub name: Option<String>,
    /// Its roles.
    pub roles: String,
    /// Where its data is.
    pub folder: PathBuf,
    /// The port of its client listener.
    pub client: u16,
    /// The port of its peer listener.
    pub peer: u16,
    /// The port at which others reach its peer listener.
    pub advertised: u16,
    /// The advertised addresses of the founding members.
    pub founders: Vec<String>,
    /// Whether it is none of them and joins by the first.
    pub joins: bool,
}

/// A process that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to standard error.
    pub errors: String,
}

/// The command, of which the process may have so many files open.
#[must_use]
pub(crate) fn with_open_files(command: &Command, files: u32) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    limited
        .args(["-c", &script])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    limited
}

impl Flags {
    /// The command that starts the process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(soros());
        // Whatever else fills the disk that the tests run on.
        command.env("SOROS_DISK_HIGH", "1").arg("serve");
        if let Some(name) = &self.name {
            command.args(["--name", name]);
        }
        let address = |port: u16| format!("127.0.0.1:{port}");
        command
            .args(["--roles", &self.roles])
            .arg("--dir")
            .arg(&self.folder)
            .args(["--listen", &address(self.client)])
            .args(["--peer", &address(self.peer)])
            .args(["--peer-advertise", &address(self.advertised)])
            .args(self.entry())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// How it comes into the cluster.
    fn entry(&self) -> [String; 2] {
        if self.joins {
            ["--join".to_owned(), self.founders[0].clone()]
        } else {
            ["--bootstrap".to_owned(), self.founders.join(",")]
        }
    }

    /// Runs the process until it ends by itself.
    ///
    /// # Panics
    /// When it goes on for longer than `time`.
    pub async fn run_to_end(&self, time: Duration) -> Ended {
        let begun = Instant::now();
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let errors = log.reopen().expect("a temporary file");
        let process = self.command().stderr(errors).spawn();
        let mut process = process.expect("the binary starts");
        loop {
            let errors = || std::fs::read_to_string(log.path()).unwrap_or_default();
            if let Some(status) = process.try_wait().expect("a process of this test") {
                let errors = errors();
                return Ended { status, errors };
            }
            if time < begun.elapsed() {
                let _ = process.kill();
                let _ = process.wait();
                panic!("{self:?} goes on\n{}", errors());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
