//! What this process may use of the machine, and how much of it is in use.

use std::fs;

/// Limits of this process and what it uses of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of memory in use, of the kind that is limited.
    pub(crate) memory_used: u64,
    /// Bytes of memory that may be used; absent without a limit.
    pub(crate) memory_limit: Option<u64>,
    /// Bytes of memory that are resident.
    pub(crate) resident: u64,
    /// File descriptors open.
    pub(crate) descriptors_used: u64,
    /// File descriptors that may be open.
    pub(crate) descriptors_limit: u64,
}

impl Limits {
    /// As they are now. What cannot be read counts as no limit.
    pub(crate) fn read() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let descriptors_limit = soft_limit(&limits, "Max open files").unwrap_or(u64::MAX);
        let descriptors_used = u64::try_from(open).unwrap_or(u64::MAX);
        let (memory_used, memory_limit) = address_space(&limits).or_else(of_cgroup).unzip();
        let memory_used = memory_used.unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = kibibytes(&status, "VmRSS:").unwrap_or_default();
        Self { memory_used, memory_limit, resident, descriptors_used, descriptors_limit }
    }
}

/// A limit on the address space (`ulimit -v`), with its use.
fn address_space(limits: &str) -> Option<(u64, u64)> {
    let limit = soft_limit(limits, "Max address space")?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Some((kibibytes(&status, "VmSize:")?, limit))
}

/// The limit of this process's control group (cgroup v2), with its use.
fn of_cgroup() -> Option<(u64, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let read = |file| fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok();
    let limit = read("memory.max")?.trim().parse().ok()?;
    Some((read("memory.current")?.trim().parse().ok()?, limit))
}

/// The soft limit of this name in the text of `/proc/PID/limits`; `None` where it is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A figure of `/proc/PID/status`, in bytes.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max address space"), None);
        assert_eq!(soft_limit(limits, "Max pending signals"), None);
        assert_eq!(kibibytes("Name:\tlacis\nVmSize:\t   2048 kB\n", "VmSize:"), Some(2 << 20));
    }

    #[test]
    fn this_process_has_open_descriptors_and_a_limit_on_them() {
        let limits = Limits::read();
        assert!(limits.descriptors_used > 2 && limits.descriptors_limit >= limits.descriptors_used);
    }
}
