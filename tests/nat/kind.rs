//! Kinds of NAT and firewall, and the rules of nftables that make each of them.
//!
//! A router's outer interface is `wan`, its inner one `lan`. Chains cannot be called `fwd` or `in`: those are
//! words of the grammar.

use std::{fmt::Write as _, net::Ipv4Addr};

/// What stands between a site and the Internet; in the words of RFC 4787.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Public addresses, no filter.
    Public,
    /// Public addresses behind a stateful firewall.
    Firewall,
    /// Endpoint-independent mapping and filtering, for any number of clients.
    FullCone,
    /// The same by a fixed forward to the first client.
    FullConeOne,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping that keeps ports, filtering by address and port: a home router.
    PortRestricted,
    /// The same with other ports outside.
    PortRestrictedElsewhere,
    /// A Linux that masquerades without an input filter: a host of containers or virtual machines.
    Leaky,
    /// Another port for each destination, by chance.
    Random,
    /// Another port for each destination, one after the other.
    Sequential,
    /// Another port for each destination address.
    AddressDependent,
    /// A carrier's block of ports for this client.
    PortBlock,
    /// The same, another of the block for each destination.
    PortBlockRandom,
    /// TCP to port 443 is all that gets out.
    UdpBlocked,
    /// Nothing gets out but through a proxy inside.
    ProxyOnly,
}

/// Whether clients of one NAT reach each other by their outer addresses, and how they look then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hairpin {
    Off,
    /// The source is the router's inner address.
    Internal,
    /// The source is the sender's mapping, as it looks from outside.
    External,
}

/// A site's rules, with what varies beside the kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    pub(crate) hairpin: Hairpin,
    /// IPv4 goes nowhere.
    pub(crate) no_v4: bool,
    /// The first port outside where a kind has a range of its own; another range is another NAT.
    pub(crate) first_port: u16,
}

impl From<Kind> for Rules {
    fn from(kind: Kind) -> Self {
        Self { kind, hairpin: Hairpin::Off, no_v4: false, first_port: 20_000 }
    }
}

impl Kind {
    /// The kinds of the matrix, in its order.
    pub(crate) const MATRIX: [Self; 10] = [
        Self::Public,
        Self::Firewall,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Leaky,
        Self::AddressDependent,
        Self::Sequential,
        Self::Random,
        Self::UdpBlocked,
    ];

    /// The name in the matrix.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Public => "P",
            Self::Firewall => "F",
            Self::FullCone => "FC",
            Self::FullConeOne => "FC1",
            Self::AddressRestricted => "AR",
            Self::PortRestricted => "PR",
            Self::PortRestrictedElsewhere => "PRO",
            Self::Leaky => "LK",
            Self::Random => "SR",
            Self::Sequential => "SS",
            Self::AddressDependent => "AD",
            Self::PortBlock => "PB",
            Self::PortBlockRandom => "PBR",
            Self::UdpBlocked => "UB",
            Self::ProxyOnly => "PX",
        }
    }

    /// Whether clients have public addresses of their own.
    pub(crate) fn is_public(self) -> bool {
        matches!(self, Self::Public | Self::Firewall)
    }
}

/// Lets in only what belongs to a flow from inside. Without the input filter the router itself would
/// take an unsolicited packet, and the flow outwards that comes later could not keep its port.
fn filter(rules: Rules, allowed_out: &str) -> String {
    let no_v4 = if rules.no_v4 { "meta nfproto ipv4 drop" } else { "" };
    format!(
        "table inet f {{
  chain c_fwd {{ type filter hook forward priority filter; policy accept;
    {no_v4}
    iifname \"wan\" ct state established,related accept
    iifname \"wan\" ct status dnat accept
    iifname \"wan\" drop
    {allowed_out}
  }}
  chain c_in {{ type filter hook input priority filter; policy accept;
    iifname \"wan\" ct state established,related accept
    iifname \"wan\" meta l4proto ipv6-icmp accept
    iifname \"wan\" drop
  }}
}}
"
    )
}

/// The forward part of the filter alone.
fn leaky_filter() -> &'static str {
    "table inet f {
  chain c_fwd { type filter hook forward priority filter; policy accept;
    iifname \"wan\" ct state established,related accept
    iifname \"wan\" drop
  }
}
"
}

/// A source NAT by one rule.
fn nat(rule: &str) -> String {
    format!(
        "table ip n {{
  chain post {{ type nat hook postrouting priority srcnat;
    {rule}
  }}
}}
"
    )
}

/// A cone for any number of clients: who sent from a port outside owns it.
fn owners(wan: Ipv4Addr, hairpin: Hairpin) -> String {
    let update = "update @owner { udp sport : ip saddr . udp sport }";
    let (to_us, back) = match hairpin {
        Hairpin::Off => ("iifname \"wan\"".to_owned(), String::new()),
        Hairpin::Internal => (
            format!("ip daddr {wan}"),
            format!("oifname \"lan\" ct status dnat meta l4proto udp {update} masquerade"),
        ),
        Hairpin::External => (
            format!("ip daddr {wan}"),
            format!("oifname \"lan\" ct status dnat meta l4proto udp {update} snat to {wan}"),
        ),
    };
    format!(
        "table ip n {{
  map owner {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; }}
  chain pre {{ type nat hook prerouting priority dstnat;
    {to_us} meta l4proto udp dnat ip to udp dport map @owner
  }}
  chain post {{ type nat hook postrouting priority srcnat;
    {back}
    oifname \"wan\" meta l4proto udp {update}
    oifname \"wan\" masquerade
  }}
}}
"
    )
}

/// Lets in whoever has been sent to, from any port of it.
fn seen() -> &'static str {
    "table ip g {
  set seen { type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout 300s; }
  chain c_fwd { type filter hook forward priority filter; policy accept;
    oifname \"wan\" meta l4proto udp update @seen { ip saddr . udp sport . ip daddr }
    iifname \"wan\" ct state established,related accept
    iifname \"wan\" ip daddr . udp dport . ip saddr @seen accept
    iifname \"wan\" drop
  }
}
"
}

/// Ports from a table. Arithmetic in the place of a port would be swapped byte by byte.
fn by_table(wan: Ipv4Addr, choice: &str, first: u16) -> String {
    let mut table = String::new();
    for number in 0..256 {
        write!(table, "{number} : {}, ", first + number).unwrap();
    }
    nat(&format!(
        "oifname \"wan\" meta l4proto udp snat ip to {wan} : {choice} map {{ {table} }}
    oifname \"wan\" masquerade"
    ))
}

impl Rules {
    /// The whole text for `nft -f`, for a router whose outer address is `wan` and first client `first`.
    pub(crate) fn text(self, wan: Ipv4Addr, first: Ipv4Addr) -> String {
        let port = self.first_port;
        let masquerade = |how: &str| nat(&format!("oifname \"wan\" masquerade {how}"));
        let ranged = |last: u16, how: &str| {
            nat(&format!(
                "oifname \"wan\" meta l4proto udp masquerade to :{port}-{last} {how}
    oifname \"wan\" masquerade"
            ))
        };
        let filter = |allowed: &str| filter(self, allowed);
        let rules = match self.kind {
            Kind::Public => String::new(),
            Kind::Firewall => filter(""),
            Kind::FullCone => owners(wan, self.hairpin),
            Kind::FullConeOne => {
                let forward = format!(
                    "table ip d {{
  chain pre {{ type nat hook prerouting priority dstnat; iifname \"wan\" meta l4proto udp dnat ip to {first}; }}
}}
"
                );
                forward + &masquerade("")
            }
            Kind::AddressRestricted => owners(wan, self.hairpin) + seen(),
            Kind::PortRestricted => masquerade("") + &filter(""),
            Kind::PortRestrictedElsewhere => ranged(port + 9_999, "") + &filter(""),
            Kind::Leaky => masquerade("") + leaky_filter(),
            Kind::Random => masquerade("random") + &filter(""),
            Kind::Sequential => by_table(wan, "numgen inc mod 256", port) + &filter(""),
            Kind::AddressDependent => {
                let choice = "jhash ip saddr . udp sport . ip daddr mod 256 seed 0x1234";
                by_table(wan, choice, port) + &filter("")
            }
            Kind::PortBlock => ranged(port + 999, "") + &filter(""),
            Kind::PortBlockRandom => ranged(port + 999, "fully-random") + &filter(""),
            Kind::UdpBlocked => {
                let allowed = "ct state established,related accept
    iifname \"lan\" tcp dport 443 accept
    drop";
                masquerade("") + &filter(allowed)
            }
            Kind::ProxyOnly => masquerade("") + &filter("drop"),
        };
        format!("flush ruleset\n{rules}")
    }
}
