//! This is compilers that are none: they hang, die, say nothing, too much or nonsense. Each is an
//! error with a name, and never a wait without end.

use super::*;

fn outcome(does: &str, longest: Duration) -> Result<Said, CompilerError> {
    let mut shell = Command::new("sh");
    // More than a pipe holds, so that who does not read it is felt.
    compile_in_child(shell.args(["-c", does]), &vec![0; 1 << 20], longest)
}

#[track_caller]
fn check_ended(does: &str, words: &str) {
    match outcome(does, COMPILE_WAIT_MAX) {
        Err(CompilerError::Ended(reason)) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{does}: {:?}", other.map(|_| "it said something")),
    }
}

#[test]
fn a_compiler_that_hangs_is_ended() {
    let outcome = outcome("exec sleep 3600", Duration::from_millis(50)).err();
    assert_eq!(outcome, Some(CompilerError::TooSlow));
}

#[test]
fn a_compiler_that_dies_is_an_error_with_its_last_words() {
    check_ended("kill -9 $$", "signal: 9");
    check_ended("echo no memory >&2; exit 3", "exit status: 3 no memory");
    check_ended("printf '\\001code'; exit 1", "exit status: 1");
    check_ended("exit 0", "said nothing");
    let out_of_time = outcome("kill -XCPU $$", COMPILE_WAIT_MAX).err();
    assert_eq!(out_of_time, Some(CompilerError::TooSlow));
    check_ended("exec cat /dev/zero >&2", "signal: 13");
    let mut nowhere = child(Path::new("/nowhere/soros"), PluginKind::Validation);
    let not_run = compile_in_child(&mut nowhere, b"", COMPILE_WAIT_MAX);
    assert!(matches!(not_run, Err(CompilerError::NotRun(_))));
}

#[test]
fn what_a_compiler_says_is_bounded_and_understood() {
    check_ended("printf '\\007'", "said 7");
    let flood = outcome("printf '\\001'; exec cat /dev/zero", COMPILE_WAIT_MAX).err();
    assert_eq!(flood, Some(CompilerError::TooMuchCode));
    let does = "printf '\\000'; head -c 100000 /dev/zero | tr '\\0' 'x'";
    let Ok(Said::Complaint(text)) = outcome(does, COMPILE_WAIT_MAX) else {
        panic!("it complains");
    };
    assert_eq!(text.len(), TEXT_BYTES_MAX);
    let code = outcome("printf '\\001code'", COMPILE_WAIT_MAX);
    assert!(matches!(code, Ok(Said::Code(code)) if code == b"code"));
}

#[test]
fn code_that_is_none_is_refused() {
    let host = Host::for_requests().expect("an engine");
    for none in [&b""[..], b"code", &[0; 4096]] {
        assert!(deserialize(&host, none).is_err());
    }
}
