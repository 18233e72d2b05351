//! This is what flags, variables and files are promised to become.

use super::{Config, Flags, Start};
use crate::telemetry::{Log, LogFormat};
use soros_core::map::node::Role;
use std::collections::BTreeSet;
use std::path::Path;

/// Flags as `--name value` and `--name=value`, and `--insecure` alone.
fn flags(words: &[&str]) -> Flags {
    let mut flags = Flags::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").expect("a flag");
        flags = match (name, name.split_once('=')) {
            ("insecure", _) => flags.with(name, "true"),
            ("config", _) => flags.with_file(Path::new(words.next().expect("a value"))),
            (_, Some((name, value))) => flags.with(name, value),
            (_, None) => flags.with(name, words.next().expect("a value")),
        };
    }
    flags
}

fn load(words: &[&str]) -> Result<Config, String> {
    Config::load(&flags(words), |_| None).map_err(|errors| errors.to_string())
}

#[track_caller]
fn config(words: &[&str]) -> Config {
    match load(words) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

#[track_caller]
fn refused(words: &[&str], lines: &[&str]) {
    let errors = load(words).expect_err("faults");
    assert_eq!(errors.lines().count(), lines.len(), "{errors}");
    for (line, expected) in errors.lines().zip(lines) {
        assert!(
            line.starts_with(expected),
            "`{line}` does not start with `{expected}`"
        );
    }
}

#[test]
fn runs_on_loopback_unless_told_otherwise() {
    let config = config(&[]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.peer.to_string(), "127.0.0.1:7071");
    assert_eq!(
        config.advertised_url(config.listen).to_string(),
        "http://127.0.0.1:7070"
    );
    assert_eq!(config.roles, BTreeSet::from([Role::Peer, Role::Authority]));
    assert_eq!(config.start, Start::Known);
    assert_eq!(
        config.log,
        Log {
            filter: None,
            format: LogFormat::Text
        }
    );
    assert!((config.disk.high - 0.9).abs() < f64::EPSILON);
    assert_eq!(config.repair.rate, 128 << 20);
    assert_eq!(
        (config.name, config.capacity, config.insecure),
        (None, None, false)
    );
}

#[test]
fn takes_a_flag_before_the_environment_before_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    let text = "name = 'file'\nzone = 'file'\ncapacity = 5\ninsecure = true\n\
                roles = ['authority']\n[disk]\nhigh = 0.5\n";
    std::fs::write(&file, text).expect("the disk");
    let environment = |name: &str| match name {
        "SOROS_CONFIG" => Some(file.display().to_string()),
        "SOROS_NAME" | "SOROS_ZONE" => Some("environment".to_owned()),
        "SOROS_PEER_ADVERTISE" => Some(String::new()),
        _ => None,
    };
    let config = Config::load(&flags(&["--name", "flag"]), environment).expect("a configuration");
    assert_eq!(config.name.expect("a name").as_str(), "flag");
    assert_eq!(config.zone, "environment");
    assert_eq!(config.capacity, Some(5));
    assert_eq!(config.roles, BTreeSet::from([Role::Authority]));
    assert!((config.disk.high - 0.5).abs() < f64::EPSILON);
    assert!(config.insecure);
    assert_eq!(config.peer_advertise, None);
}

#[test]
fn reports_every_fault_at_once_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(
        &file,
        "lisen = '127.0.0.1:1'\n[disk]\nlow = 0.1\nhigh = 2\n",
    )
    .expect("disk");
    let place = |key: &str| format!("`{key}` in {}: ", file.display());
    let words = [
        "--config",
        &file.display().to_string(),
        "--name",
        "A",
        "--workers=0",
    ];
    let expected = [
        place("disk.low") + "there is no such setting; `soros serve --help` lists them",
        place("lisen") + "there is no such setting; `listen` was perhaps meant",
        "--name: `A` is not a name".to_owned(),
        "--workers: `0` is not a whole number from 1 to 1024".to_owned(),
        place("disk.high") + "`2` is not a fraction of the disk",
    ];
    refused(&words, &expected.each_ref().map(String::as_str));
}

#[test]
fn reports_a_file_that_is_missing_or_no_toml() {
    refused(
        &["--config", "no/such.toml"],
        &["no/such.toml: cannot be read ("],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "name = \n").expect("the disk");
    let errors = load(&["--config", &file.display().to_string()]).expect_err("a fault");
    assert!(errors.contains("is not TOML"), "{errors}");
}

#[test]
fn keeps_clear_text_on_this_machine_unless_told_otherwise() {
    let words = ["--listen", "0.0.0.0:7070", "--peer", "10.0.0.1:7071"];
    refused(
        &words,
        &[
            "--listen: 0.0.0.0:7070 can be reached",
            "--peer: 10.0.0.1:7071 can be",
        ],
    );
    let config = config(&[&words[..], &["--insecure"]].concat());
    assert_eq!(
        config.advertised_url(config.listen).to_string(),
        "http://10.0.0.1:7070"
    );
    let words = [
        "--listen",
        "0.0.0.0:7070",
        "--peer",
        "[::]:7071",
        "--insecure",
    ];
    refused(
        &words,
        &[
            "--listen: 0.0.0.0:7070 is no address",
            "--peer: [::]:7071 is no address",
        ],
    );
}

#[test]
fn founds_a_cluster_only_with_itself_in_the_list() {
    let members = "10.0.0.1:7071,10.0.0.2:7071";
    let config = config(&[
        "--bootstrap",
        members,
        "--peer-advertise",
        "10.0.0.2:7071",
        "--peer",
        "[::1]:0",
    ]);
    let Start::Bootstrap(list) = &config.start else {
        panic!("it founds no cluster")
    };
    assert_eq!(list[1], config.advertised_peer(config.peer));
    refused(
        &["--bootstrap", members],
        &["--bootstrap: the list must contain this node itself"],
    );
    refused(
        &["--bootstrap", "a:1,b:2,a:1"],
        &[
            "--bootstrap: a:1 is in the list twice",
            "--bootstrap: the list must contain this node itself",
        ],
    );
    refused(
        &["--bootstrap", "127.0.0.1:0", "--peer", "127.0.0.1:0"],
        &["--bootstrap: `127.0.0.1:0` is not HOST:PORT"],
    );
    refused(
        &["--bootstrap", "127.0.0.1:7071", "--peer", "127.0.0.1:0"],
        &["--bootstrap: a founding member needs a peer port"],
    );
    refused(
        &["--bootstrap", "127.0.0.1:7071", "--join", "127.0.0.1:7081"],
        &["--join: a node founds a cluster or joins one"],
    );
}

#[test]
fn gives_others_the_port_that_the_system_chose() {
    let config = config(&[
        "--listen",
        "127.0.0.1:0",
        "--peer",
        "127.0.0.1:0",
        "--join",
        "n1:7071",
    ]);
    let bound = "127.0.0.1:12345".parse().expect("an address");
    assert_eq!(
        config.advertised_url(bound).to_string(),
        "http://127.0.0.1:12345"
    );
    assert_eq!(config.advertised_peer(bound).to_string(), "127.0.0.1:12345");
}

#[test]
fn refuses_a_port_for_both_listeners_and_a_ready_file_nowhere() {
    refused(
        &[
            "--listen",
            "127.0.0.1:7071",
            "--ready-file",
            "no/such/ready.json",
        ],
        &[
            "--peer: 127.0.0.1:7071 is the client",
            "--ready-file: the folder no/such does not",
        ],
    );
}
