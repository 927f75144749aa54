//! Limits that the operating system sets this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors that are enough: a connection for each agent that one control is meant for, and some room.
pub(crate) const DESCRIPTORS: u64 = 12_100;

/// Raises the limit on file descriptors as far as the process itself may: each agent that is connected takes
/// one, and the usual limit of 1,024 is meant for programs that wait with `select`.
pub(crate) fn raise_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "cannot raise the limit on file descriptors");
    }
}

/// File descriptors that may be open.
pub(crate) fn descriptors() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        raise_descriptors();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert_eq!(descriptors(), Some(soft));
    }
}
