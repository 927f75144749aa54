//! The Internet of a laboratory: the switch in the middle, and public hosts on it.
//!
//! Public addresses are 198.51.100.0/24 and 2001:db8::/64. Site N has its outer side at .(20 + N) and
//! public addresses of its own in 203.0.113.(16 N)/28 and 2001:db8:N::/64.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use support::{Namespace, serial};

use crate::{
    sea::{Eye, Sea, Weather},
    wires,
};

/// Numbers of sites: as many as there are /28 in a /24, without the first.
pub(crate) const SITES: std::ops::RangeInclusive<u8> = 1..=15;

/// Outer addresses of routers that map ports; of no documentation, see [`crate::gateway`].
pub(crate) const SECOND: &str = "198.52.100.0/24";

/// Hops across: more than a packet that is only meant to open the sender's own NAT lives.
const HOPS: u8 = 8;

/// The Internet: everything public is plugged in here.
pub(crate) struct Internet {
    sea: Sea,
    /// Where the inner ends of the cables lie.
    middle: Namespace,
    weather: Weather,
    kept: Vec<PublicHost>,
}

impl Internet {
    /// One where it takes so long from a port to the middle: half of a one-way delay.
    pub(crate) fn new(half: Duration) -> Self {
        let middle = Namespace::new();
        // Nobody lives in the middle: nothing may speak up there.
        middle.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        let weather = Weather { delay: half, ..Weather::default() };
        Self { sea: Sea::new(HOPS), middle, weather, kept: Vec::new() }
    }

    /// Plugs an interface of a namespace in, and gives the number of its port.
    pub(crate) fn plug(&mut self, space: &Namespace, interface: &str) -> usize {
        let end = format!("p{}", serial());
        wires::cable(space, interface, &self.middle, &end);
        // Frames are carried as they are: they must be whole when they leave.
        for (space, end) in [(space, interface), (&self.middle, end.as_str())] {
            wires::no_offloads(space, end);
        }
        self.sea.attach(&self.middle, &end, self.weather)
    }

    /// A public host: its first address is where it sends from.
    pub(crate) fn host(&mut self, numbers: &[u8]) -> PublicHost {
        let space = Namespace::new();
        let port = self.plug(&space, "eth0");
        let mut script = String::new();
        for number in numbers {
            writeln!(script, "ip addr add 198.51.100.{number}/24 dev eth0").unwrap();
            writeln!(script, "ip addr add 2001:db8::{number}/64 dev eth0 nodad").unwrap();
        }
        writeln!(script, "ip route add {SECOND} dev eth0").unwrap();
        space.sh(&script);
        space.feed("ip", &["-batch", "-"], &(routes(None) + &routes6(None)));
        PublicHost { space, port, numbers: numbers.to_vec() }
    }

    /// Keeps a host for as long as the Internet lives.
    pub(crate) fn keep(&mut self, host: PublicHost) {
        self.kept.push(host);
    }

    /// What happens on the sea: weather, cuts and counts.
    pub(crate) fn sea(&self) -> Eye {
        self.sea.eye()
    }
}

/// A host with public addresses.
pub(crate) struct PublicHost {
    pub(crate) space: Namespace,
    pub(crate) port: usize,
    numbers: Vec<u8>,
}

impl PublicHost {
    /// Its addresses of IPv4.
    pub(crate) fn v4(&self) -> Vec<IpAddr> {
        self.numbers.iter().map(|number| [198, 51, 100, *number].into()).collect()
    }

    /// Its addresses of IPv6.
    pub(crate) fn v6(&self) -> Vec<IpAddr> {
        self.numbers.iter().map(|number| format!("2001:db8::{number}").parse().unwrap()).collect()
    }
}

/// Lines for `ip -batch`: the ways to the public addresses of all sites but one.
pub(crate) fn routes(but: Option<u8>) -> String {
    let mut lines = String::new();
    for site in SITES.filter(|site| Some(*site) != but) {
        let (net, door) = (16 * u16::from(site), 20 + site);
        writeln!(lines, "route add 203.0.113.{net}/28 via 198.51.100.{door}").unwrap();
    }
    lines
}

/// The same for IPv6.
pub(crate) fn routes6(but: Option<u8>) -> String {
    let mut lines = String::new();
    for site in SITES.filter(|site| Some(*site) != but) {
        writeln!(lines, "route add 2001:db8:{site}::/64 via 2001:db8::{}", 20 + site).unwrap();
    }
    lines
}
