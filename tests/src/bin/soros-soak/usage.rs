//! This is what nodes take of their machine, and whether that grows without end.

use soros_tests::cluster::Cluster;
use soros_tests::folder;
use std::fmt;

/// What the nodes of a cluster take, each at most.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    memory_kib: u64,
    descriptors: u64,
    disk_kib: u64,
}

impl Usage {
    /// As it is now.
    pub(crate) fn of(cluster: &Cluster) -> Usage {
        let nodes = || 0..cluster.count();
        let memory = nodes().map(|node| memory_kib(cluster.process_id(node)));
        let descriptors = nodes().map(|node| descriptors(cluster.process_id(node)));
        let disk = nodes().map(|node| disk_kib(cluster, node));
        Usage {
            memory_kib: memory.max().unwrap_or(0),
            descriptors: descriptors.max().unwrap_or(0),
            disk_kib: disk.max().unwrap_or(0),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage {
            memory_kib,
            descriptors,
            disk_kib,
        } = self;
        write!(
            out,
            "at most {memory_kib} KiB, {descriptors} files, {disk_kib} KiB on disk"
        )
    }
}

/// What grew: where the last third of a soak takes twice what the middle one took.
pub(crate) fn growth(usages: &[Usage]) -> Vec<String> {
    let third = usages.len() / 3;
    if third < 3 {
        return Vec::new();
    }
    let of = |what: fn(&Usage) -> u64, part: &[Usage]| part.iter().map(what).max().unwrap_or(0);
    let (middle, last) = (&usages[third..2 * third], &usages[2 * third..]);
    let both = |what| (of(what, middle), of(what, last));
    let kinds = [
        ("memory in KiB", both(|usage| usage.memory_kib)),
        ("open files", both(|usage| usage.descriptors)),
        ("disk in KiB", both(|usage| usage.disk_kib)),
    ];
    let grown = kinds
        .into_iter()
        .filter(|(_, (before, after))| 2 * before < *after);
    grown
        .map(|(name, (before, after))| format!("GROWTH {name}: {before}, later {after}"))
        .collect()
}

fn memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("a node that runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.expect("the kernel says it")
}

fn descriptors(process: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{process}/fd"));
    open.expect("a node that runs").count() as u64
}

/// What a node's directory takes; files may go while they are counted.
fn disk_kib(cluster: &Cluster, node: usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let folder = cluster.folder(node);
    let files = folder::files(&folder);
    let blocks = files
        .iter()
        .filter_map(|file| std::fs::metadata(folder.join(file)).ok())
        .map(|metadata| metadata.blocks());
    blocks.sum::<u64>() / 2
}
