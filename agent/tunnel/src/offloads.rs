//! Which offloads of the kernel are used.

use std::fmt;

/// Which offloads of the kernel to use: all of them by default. Turning one off helps to find out which one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Read packets of one flow from the device as one.
    pub segmented_reads: bool,
    /// Send trains with one system call (`UDP_SEGMENT`).
    pub segmented_sends: bool,
    /// Receive datagrams that the kernel merged (`UDP_GRO`).
    pub merged_receives: bool,
    /// Write packets of one flow to the device as one.
    pub coalesced_writes: bool,
}

impl Offloads {
    /// None of them.
    pub const NONE: Self = Self {
        segmented_reads: false,
        segmented_sends: false,
        merged_receives: false,
        coalesced_writes: false,
    };

    /// All but those that `list` names: `reads`, `sends`, `receives` and `writes`, with commas between, or `none`.
    #[must_use]
    pub fn without(list: &str) -> Option<Self> {
        let mut offloads = Self::default();
        for name in list.split(',').filter(|_| list != "none") {
            let offload = match name {
                "reads" => &mut offloads.segmented_reads,
                "sends" => &mut offloads.segmented_sends,
                "receives" => &mut offloads.merged_receives,
                "writes" => &mut offloads.coalesced_writes,
                _ => return None,
            };
            *offload = false;
        }
        Some(offloads)
    }
}

impl Default for Offloads {
    fn default() -> Self {
        Self { segmented_reads: true, segmented_sends: true, merged_receives: true, coalesced_writes: true }
    }
}

/// Prints what [`Offloads::without`] reads.
impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = [
            (self.segmented_reads, "reads"),
            (self.segmented_sends, "sends"),
            (self.merged_receives, "receives"),
            (self.coalesced_writes, "writes"),
        ];
        let off: Vec<&str> = used.into_iter().filter(|(used, _)| !used).map(|(_, name)| name).collect();
        f.write_str(if off.is_empty() { "none" } else { "" })?;
        f.write_str(&off.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for list in ["none", "reads", "sends", "receives,writes", "reads,sends,receives,writes"] {
            assert_eq!(Offloads::without(list).unwrap().to_string(), list);
        }
        assert_eq!(Offloads::without("none"), Some(Offloads::default()));
        assert_eq!(Offloads::without("writes,reads,sends,receives"), Some(Offloads::NONE));
        for list in ["", "read", "sends,", "none,sends"] {
            assert_eq!(Offloads::without(list), None, "{list}");
        }
    }
}
