//! Who may change what the agent does.

use std::{fs, os::unix::fs::MetadataExt as _};

use tokio::net::UnixStream;

/// The group of this host whose members may change what the agent does.
const GROUP: &str = "lacis";

/// Whether whoever is at the other end may change anything: root, whoever runs the agent, a member of
/// the group `lacis`.
pub(super) fn may_change(stream: &UnixStream) -> bool {
    let Ok(other) = stream.peer_cred() else { return false };
    let ours = fs::metadata("/proc/self").map(|metadata| metadata.uid());
    if other.uid() == 0 || ours.is_ok_and(|ours| ours == other.uid()) {
        return true;
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let Some(group) = number_of(&groups, GROUP) else { return false };
    let status = other.pid().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
    other.gid() == group || status.is_some_and(|status| is_in(&status, group))
}

/// The number of a group in the text of `/etc/group`.
fn number_of(groups: &str, name: &str) -> Option<u32> {
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Whether the text of `/proc/PID/status` names a supplementary group.
fn is_in(status: &str, group: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.is_some_and(|line| line.split_whitespace().any(|number| number.parse() == Ok(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nlacis-dev:x:7:\nlacis:x:998:anna\n";
        assert_eq!(number_of(groups, "lacis"), Some(998));
        assert_eq!(number_of("root:x:0:\n", "lacis"), None);
        assert_eq!(number_of("lacis:x:many:\n", "lacis"), None);
    }

    #[test]
    fn supplementary_groups_are_read_from_the_status() {
        let status = "Name:\tlacis\nGroups:\t4 24 998 \nVmRSS:\t1 kB\n";
        assert!(is_in(status, 998));
        assert!(!is_in(status, 99));
        assert!(!is_in("", 0));
    }
}
