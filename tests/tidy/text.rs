//! This is what no text may leave behind: promises without a name, and the paths of a machine.

use crate::fault::Fault;
use crate::tree::File;

/// Marks of work left undone; with a name behind them, `(name)`, someone has promised to do it.
const PROMISES: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
/// Folders that exist on one machine only.
const MACHINES: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Every promise has a name; nothing names a path of the machine it was written on.
pub(crate) fn marks(file: &File) -> Vec<Fault> {
    let faults_of = |(number, line): (usize, &str)| {
        let promise = PROMISES
            .iter()
            .filter(|mark| is_nameless(line, mark))
            .map(|mark| format!("`{mark}` without a name: do it, or say `{mark}(who)`"));
        let machine = MACHINES
            .iter()
            .filter(|folder| names_folder(line, folder))
            .map(|folder| format!("`{folder}` is a path of one machine"));
        promise
            .chain(machine)
            .map(|what| Fault::new(&file.path, number, what))
            .collect::<Vec<_>>()
    };
    (1..).zip(file.text.lines()).flat_map(faults_of).collect()
}

fn is_nameless(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + mark.len()..];
        let is_word = !before.is_some_and(char::is_alphanumeric)
            && !after.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        is_word && !has_name(after)
    })
}

fn has_name(after: &str) -> bool {
    after
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(who, _)| {
            !who.is_empty()
                && who
                    .chars()
                    .all(|letter| letter.is_alphanumeric() || letter == '-')
        })
}

/// A folder at the front of a path, not in its middle: `a/work/b` names no machine.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "-_.}~$".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        marks(&File {
            path: "a.md".to_owned(),
            text: text.to_owned(),
        })
        .len()
    }

    #[test]
    fn asks_who_promised() {
        let mark = PROMISES[0];
        assert_eq!(count(&format!("// {mark}: later")), 1);
        assert_eq!(count(&format!("// {mark}(): later")), 1);
        assert_eq!(count(&format!("// {mark}(ada): later")), 0);
        assert_eq!(count(&format!("MASTO{mark}N")), 0);
    }

    #[test]
    fn knows_paths_of_machines() {
        let folder = MACHINES[0];
        assert_eq!(count(&format!("see {folder}here")), 1);
        assert_eq!(count(&format!("`{folder}here`")), 1);
        assert_eq!(count(&format!("examples{folder}here")), 0);
        assert_eq!(count("/var/lib/soros"), 0);
    }
}
