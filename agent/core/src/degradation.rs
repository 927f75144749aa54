//! What does not work on a node that goes on all the same, each with its remedy.
//!
//! The one list of it: `lacis status`, its JSON, `/readyz` and `/metrics` print these and nothing else. A
//! degradation is derived anew whenever somebody asks, from what the shells saw; none is kept after its
//! cause is gone.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// One thing that does not work. [`fmt::Display`] is the sentence for people, remedy included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degradation {
    /// Something that the groups need could not be set up; the reason names its own remedy.
    NotApplied {
        /// What, and why.
        reason: String,
    },
    /// The host has no IPv6.
    NoIpv6,
    /// The host gives no sockets of IPv4.
    NoIpv4,
    /// No peer that was called has answered over UDP.
    UdpUnanswered {
        /// The port of the tunnels.
        port: u16,
        /// Peers called in vain.
        peers: usize,
    },
    /// No relay answers, though there are some.
    NoRelay {
        /// Whether control, of which a relay may be part, is away, too.
        control_away: bool,
    },
    /// The kernel refuses to send datagrams.
    UdpRefused {
        /// Trains of datagrams refused of late.
        trains: u64,
    },
    /// The usual port of the tunnels was taken.
    PortTaken {
        /// The port that others may have cached.
        wanted: u16,
        /// The port in use.
        used: u16,
    },
    /// Port 53 of a resolver address is not ours.
    NamesUnanswered {
        /// Where names go unanswered.
        addr: SocketAddr,
        /// Why.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The host's resolver does not ask this agent.
    NamesByHand {
        /// Why the agent does not see to it.
        reason: String,
        /// Where names are answered.
        resolver: Option<IpAddr>,
    },
    /// A former name server of the host asks this agent in turn.
    UpstreamLoop {
        /// The name server.
        server: SocketAddr,
    },
    /// The host's clock differs from control's.
    ClockWrong {
        /// By how much control is ahead, in seconds.
        offset_s: i64,
    },
    /// State cannot be written.
    StateNotSaved {
        /// Which file, and why.
        reason: String,
        /// Why, as far as it is known.
        cause: StateTrouble,
    },
    /// Memory is about to run out.
    MemoryShort {
        /// Bytes in use.
        used: u64,
        /// Bytes that may be used.
        limit: u64,
    },
    /// File descriptors are about to run out.
    DescriptorsShort {
        /// Descriptors open.
        open: u64,
        /// Descriptors that may be open.
        limit: u64,
    },
}

/// Why state cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateTrouble {
    /// The disk or the quota is full.
    DiskFull,
    /// The folder is on something that cannot be written to.
    ReadOnly,
    /// Something else.
    Other,
}

impl Degradation {
    /// A short name that programs may rely on.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotApplied { .. } => "not_applied",
            Self::NoIpv6 => "no_ipv6",
            Self::NoIpv4 => "no_ipv4",
            Self::UdpUnanswered { .. } => "udp_unanswered",
            Self::NoRelay { .. } => "no_relay",
            Self::UdpRefused { .. } => "udp_refused",
            Self::PortTaken { .. } => "port_taken",
            Self::NamesUnanswered { .. } => "names_unanswered",
            Self::NamesByHand { .. } => "names_by_hand",
            Self::UpstreamLoop { .. } => "upstream_loop",
            Self::ClockWrong { .. } => "clock_wrong",
            Self::StateNotSaved { .. } => "state_not_saved",
            Self::MemoryShort { .. } => "memory_short",
            Self::DescriptorsShort { .. } => "descriptors_short",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NotApplied { .. } => "remove the cause; it is tried again every few seconds".to_owned(),
            Self::NoIpv6 => {
                "allow it (sysctl net.ipv6.conf.default.disable_ipv6=0) and start the agent again".to_owned()
            }
            Self::NoIpv4 => {
                "allow it (AF_INET in RestrictAddressFamilies of the service) and start the agent again".to_owned()
            }
            Self::UdpUnanswered { port, .. } => {
                format!("let UDP out, and in to port {port}, at the firewalls on the way")
            }
            Self::NoRelay { control_away: true } => {
                "the relay is part of control, unless others were set up: start control again, or run a relay apart from it"
                    .to_owned()
            }
            Self::NoRelay { control_away: false } => {
                "let UDP out, or TLS, to the relays; `lacis netcheck` tells which answers".to_owned()
            }
            Self::UdpRefused { .. } => "let the agent send UDP: look at the host's own firewall".to_owned(),
            Self::PortTaken { wanted, .. } => {
                format!("free UDP port {wanted}, or name one of your choice with --port")
            }
            Self::NamesUnanswered { remedy, .. } => (*remedy).to_owned(),
            Self::NamesByHand { resolver: Some(resolver), .. } => {
                format!("have the host's resolver ask {resolver} for the names of its groups")
            }
            Self::NamesByHand { resolver: None, .. } => {
                "have the host's resolver ask the group's resolver, once there is one".to_owned()
            }
            Self::UpstreamLoop { server } => {
                format!("have {server} ask other name servers than those of /etc/resolv.conf")
            }
            Self::ClockWrong { .. } => "set the clock, and keep it: timedatectl set-ntp true".to_owned(),
            Self::StateNotSaved { cause: StateTrouble::DiskFull, .. } => {
                "make room on the disk; the agent saves what it knows at the next change".to_owned()
            }
            Self::StateNotSaved { cause: StateTrouble::ReadOnly, .. } => {
                "make the state folder writable: it is on a read-only file system".to_owned()
            }
            Self::StateNotSaved { cause: StateTrouble::Other, .. } => {
                "make the state folder writable for the agent".to_owned()
            }
            Self::MemoryShort { .. } => "raise the memory limit of the service or container".to_owned(),
            Self::DescriptorsShort { .. } => "raise LimitNOFILE of the service, or ulimit -n".to_owned(),
        }
    }

    /// What does not work, and what goes on.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::NotApplied { reason } => reason.clone(),
            Self::NoIpv6 => "this host has no IPv6: peers are reached by IPv4 only".to_owned(),
            Self::NoIpv4 => "this host has no IPv4: peers are reached by IPv6 only".to_owned(),
            Self::UdpUnanswered { peers, .. } => {
                format!("none of the {peers} peers called has answered over UDP")
            }
            Self::NoRelay { .. } => {
                "no relay answers: peers that no direct path leads to cannot be reached".to_owned()
            }
            Self::UdpRefused { trains } => {
                format!("the kernel refused to send {trains} times of late")
            }
            Self::PortTaken { wanted, used } => {
                format!("UDP port {wanted} is taken; tunnels use port {used}")
            }
            Self::NamesUnanswered { addr, reason, .. } => format!("no names on {addr}: {reason}"),
            Self::NamesByHand { reason, .. } => {
                format!("programs of this host do not find names of its groups: {reason}")
            }
            Self::UpstreamLoop { server } => {
                format!("the name server {server} asks this agent in turn; it is left out")
            }
            Self::ClockWrong { offset_s } => {
                let (by, way) = (offset_s.unsigned_abs(), if *offset_s > 0 { "behind" } else { "ahead" });
                format!("the clock of this host is {by} s {way}; the agent allows for it")
            }
            Self::StateNotSaved { reason, .. } => {
                format!("state is not saved, so that the next start knows less: {reason}")
            }
            Self::MemoryShort { used, limit } => {
                format!("{} of {} MiB of memory are in use", used >> 20, limit >> 20)
            }
            Self::DescriptorsShort { open, limit } => {
                format!("{open} of {limit} file descriptors are in use")
            }
        }
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.remedy())
    }
}

/// A clock this far off makes logs and certificates misleading, though the agent allows for it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// Whether a clock that control is `offset_ms` ahead of is worth a word.
#[must_use]
pub fn clock_trouble(offset_ms: i64) -> Option<Degradation> {
    let tolerated = u128::from(offset_ms.unsigned_abs()) <= CLOCK_TOLERANCE.as_millis();
    (!tolerated).then_some(Degradation::ClockWrong { offset_s: offset_ms / 1000 })
}

/// A share of a limit, in tenths, from which on it is worth a word: time is left to raise it.
const SHORT_TENTHS: u64 = 9;

/// Whether memory runs short; `limit` is absent where there is none.
#[must_use]
pub fn memory_trouble(used: u64, limit: Option<u64>) -> Option<Degradation> {
    let limit = limit?;
    is_short(used, limit).then_some(Degradation::MemoryShort { used, limit })
}

/// Whether file descriptors run short.
#[must_use]
pub fn descriptor_trouble(open: u64, limit: u64) -> Option<Degradation> {
    is_short(open, limit).then_some(Degradation::DescriptorsShort { open, limit })
}

const fn is_short(used: u64, limit: u64) -> bool {
    used.saturating_mul(10) >= limit.saturating_mul(SHORT_TENTHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_of_before_they_are_reached() {
        assert_eq!(memory_trouble(89, Some(100)), None);
        assert_eq!(memory_trouble(90, Some(100)), Some(Degradation::MemoryShort { used: 90, limit: 100 }));
        assert_eq!(memory_trouble(u64::MAX, None), None);
        assert_eq!(descriptor_trouble(921, 1024), None);
        assert!(descriptor_trouble(922, 1024).is_some());
    }

    #[test]
    fn a_clock_may_be_off_by_a_minute() {
        for (offset_ms, expected) in
            [(0, None), (60_000, None), (-60_000, None), (61_000, Some("61 s behind"))]
        {
            let said = clock_trouble(offset_ms).map(|trouble| trouble.what());
            assert_eq!(said.is_some(), expected.is_some(), "{offset_ms}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
        assert!(clock_trouble(-7_200_000).unwrap().what().contains("7200 s ahead"));
    }

    #[test]
    fn each_says_what_to_do() {
        let addr: SocketAddr = "10.128.0.1:53".parse().unwrap();
        for (degradation, says) in [
            (Degradation::NoIpv6, "disable_ipv6=0"),
            (Degradation::NoIpv4, "by IPv6 only; allow it (AF_INET"),
            (Degradation::UdpUnanswered { port: 47_820, peers: 2 }, "port 47820"),
            (Degradation::NamesByHand { reason: "x".into(), resolver: Some(addr.ip()) }, "ask 10.128.0.1"),
            (
                Degradation::NamesUnanswered { addr, reason: "taken".into(), remedy: "free it" },
                "10.128.0.1:53: taken; free it",
            ),
            (Degradation::NoRelay { control_away: true }, "start control again"),
            (Degradation::NoRelay { control_away: false }, "lacis netcheck"),
            (Degradation::UpstreamLoop { server: addr }, "10.128.0.1:53 ask other name servers"),
        ] {
            assert!(degradation.to_string().contains(says), "{degradation}");
        }
    }
}
