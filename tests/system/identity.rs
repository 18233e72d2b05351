//! This is how the nodes of a cluster are told apart: nobody takes the place of a living one, and a
//! directory is of one node of one cluster.

use soros_tests::cluster::Cluster;
use soros_tests::flags::Flags;
use soros_tests::folder;
use soros_tests::load::{Load, faults};
use soros_tests::ports::free_port;
use std::time::Duration;

const CLIENTS: usize = 2;
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// The flags of a second process of a node, on listeners and in a folder of its own. It is on the
/// list of founding members that it is given.
fn second(cluster: &Cluster, node: usize, folder: &str) -> Flags {
    let (client, peer) = (free_port(), free_port());
    let mut flags = Flags {
        folder: cluster.scratch(folder),
        client,
        peer,
        advertised: peer,
        ..cluster.flags(node)
    };
    flags.founders[node] = format!("127.0.0.1:{peer}");
    flags
}

#[track_caller]
fn assert_says(ended: &soros_tests::flags::Ended, code: i32, text: &str) {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.errors);
    assert!(ended.errors.contains(text), "{}", ended.errors);
}

#[tokio::test]
async fn a_second_process_of_a_living_node_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    load.progress(50).await;
    for node in 0..3 {
        // Every node in turn, so that one of them leads the authority.
        let name = cluster.name(node).to_owned();
        let copied = second(&cluster, node, &format!("{name}-copied"));
        folder::copy(&cluster.folder(node), &copied.folder);
        let ended = copied.run_to_end(REFUSED_WITHIN).await;
        assert_says(
            &ended,
            1,
            &format!("a living node is called `{name}` already"),
        );

        let empty = second(&cluster, node, &format!("{name}-empty"));
        let ended = empty.run_to_end(REFUSED_WITHIN).await;
        assert_says(
            &ended,
            1,
            &format!("a living node is called `{name}` already"),
        );

        // It says that it is reached where the living one is.
        let mut disguised = second(&cluster, node, &format!("{name}-disguised"));
        let Flags {
            advertised,
            founders,
            ..
        } = cluster.flags(node);
        (disguised.advertised, disguised.founders) = (advertised, founders);
        folder::copy(&cluster.folder(node), &disguised.folder);
        let ended = disguised.run_to_end(REFUSED_WITHIN).await;
        assert_says(
            &ended,
            1,
            &format!("a living node is called `{name}` already"),
        );

        // In the folder of the living one.
        let mut same = second(&cluster, node, "");
        same.folder = cluster.folder(node);
        let ended = same.run_to_end(REFUSED_WITHIN).await;
        assert_says(&ended, 1, "is in use by another process");
        load.progress(20).await;
    }
    let (tallies, oracle) = load.stop().await;
    for (node, tally) in tallies {
        assert!(
            tally.problems.is_empty() && tally.no_answer == 0,
            "{node}: {tally:?}"
        );
    }
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_is_of_one_node_of_one_cluster() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[1, 2], CLIENTS);
    load.progress(50).await;
    cluster.terminate(0).await;

    let mut renamed = cluster.flags(0);
    renamed.name = Some("n9".to_owned());
    let ended = renamed.run_to_end(REFUSED_WITHIN).await;
    assert_says(&ended, 2, "belongs to node `n1`, not to `n9`");

    // The directory of another node of the cluster.
    let mut other = second(&cluster, 0, "of-n2");
    folder::copy(&cluster.folder(1), &other.folder);
    let ended = other.run_to_end(REFUSED_WITHIN).await;
    assert_says(&ended, 2, "belongs to node `n2`, not to `n1`");
    other.name = None;
    let ended = other.run_to_end(REFUSED_WITHIN).await;
    assert_says(&ended, 1, "a living node is called `n2` already");

    // Without a name it is what it was.
    let mut nameless = cluster.flags(0);
    nameless.name = None;
    let nameless = nameless
        .command()
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut nameless = nameless.expect("the binary starts");
    load.progress(50).await;
    nameless.kill().expect("a process of this test");
    nameless.wait().expect("a process of this test");

    let (_, oracle) = load.stop().await;
    cluster.restart(0).await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
