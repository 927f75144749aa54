//! Sites: a router with an outer side on the Internet or inside a carrier, and clients behind it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use support::{Namespace, eventually, run, serial};

use crate::{
    internet::{Internet, PublicHost, SECOND, routes, routes6},
    kind::Rules,
    wires,
};

/// A router and the clients behind it.
pub(crate) struct Site {
    number: u8,
    pub(crate) router: Namespace,
    pub(crate) clients: Vec<Arc<Namespace>>,
    /// Its port in the sea; none where it is a carrier's customer.
    pub(crate) port: Option<usize>,
    pub(crate) wan: Ipv4Addr,
    /// The first three bytes of its inner addresses.
    lan: [u8; 3],
    rules: Rules,
}

impl Site {
    /// A site on the Internet with one client.
    pub(crate) fn new(internet: &mut Internet, number: u8, rules: impl Into<Rules>) -> Self {
        Self::with_lan(internet, number, [10, 0, number], rules)
    }

    /// The same, with inner addresses of one's choice.
    pub(crate) fn with_lan(
        internet: &mut Internet,
        number: u8,
        lan: [u8; 3],
        rules: impl Into<Rules>,
    ) -> Self {
        let router = Namespace::new();
        let port = internet.plug(&router, "wan");
        let wan = Ipv4Addr::new(198, 51, 100, 20 + number);
        let mut site = Self::make(router, number, wan, lan, rules.into());
        site.port = Some(port);
        site.router.feed("ip", &["-batch", "-"], &routes(Some(number)));
        site.router.ip(&["route", "add", SECOND, "dev", "wan"]);
        site.add_client();
        site
    }

    /// A carrier: its customers' outer addresses are its inner ones, 100.64.N.0/24.
    pub(crate) fn carrier(internet: &mut Internet, number: u8, rules: impl Into<Rules>) -> Self {
        let mut carrier = Self::with_lan(internet, number, [100, 64, number], rules);
        carrier.clients.clear();
        carrier
    }

    /// A customer of a carrier, with one client.
    pub(crate) fn behind(carrier: &Self, number: u8, rules: impl Into<Rules>) -> Self {
        let router = Namespace::new();
        carrier.plug(&router, "wan");
        let [a, b, c] = carrier.lan;
        let wan = Ipv4Addr::new(a, b, c, 20 + number);
        let mut site = Self::make(router, number, wan, [10, 0, number], rules.into());
        site.router.ip(&["route", "add", "default", "via", &format!("{a}.{b}.{c}.1")]);
        site.add_client();
        site
    }

    fn make(router: Namespace, number: u8, wan: Ipv4Addr, lan: [u8; 3], rules: Rules) -> Self {
        let [a, b, c] = lan;
        let public = 16 * u16::from(number) + 1;
        router.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
               net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
             ip addr add {wan}/24 dev wan
             ip link add lan type bridge
             ip addr add {a}.{b}.{c}.1/24 dev lan
             ip addr add 203.0.113.{public}/28 dev lan
             ip link set lan up"
        ));
        let site = Self { number, router, clients: Vec::new(), port: None, wan, lan, rules };
        site.apply();
        site
    }

    /// Plugs an interface of a namespace into the inner switch.
    pub(crate) fn plug(&self, space: &Namespace, interface: &str) {
        let end = format!("l{}", serial());
        wires::cable(space, interface, &self.router, &end);
        self.router.ip(&["link", "set", &end, "master", "lan"]);
    }

    /// One more client.
    pub(crate) fn add_client(&mut self) -> &Arc<Namespace> {
        let client = Namespace::new();
        self.plug(&client, "eth0");
        self.clients.push(Arc::new(client));
        self.address_clients();
        self.clients.last().unwrap()
    }

    /// The first client.
    pub(crate) fn client(&self) -> &Arc<Namespace> {
        &self.clients[0]
    }

    /// Becomes another kind of site. Flows that there are, are forgotten: each keeps its NAT for life.
    pub(crate) fn set(&mut self, rules: impl Into<Rules>) {
        let was_public = self.rules.kind.is_public();
        self.rules = rules.into();
        self.apply();
        if was_public != self.rules.kind.is_public() {
            self.address_clients();
        }
        self.forget();
    }

    fn apply(&self) {
        self.router.feed("nft", &["-f", "-"], &self.rules.text(self.wan, self.inner(0)));
    }

    /// Forgets all flows, as a router that restarts.
    pub(crate) fn forget(&self) {
        self.router.sh("conntrack -F 2>&1");
    }

    /// Gets another outer address; the old one is gone with its flows.
    pub(crate) fn renumber(&mut self, wan: Ipv4Addr) {
        self.wan = wan;
        self.router.sh(&format!(
            "ip -4 addr flush dev wan
             ip addr add {wan}/24 dev wan"
        ));
        self.router.feed("ip", &["-batch", "-"], &routes(Some(self.number)));
        self.apply();
        self.forget();
    }

    /// Takes over the first client of another site: its link there is gone, and one here comes up.
    pub(crate) fn adopt(&mut self, other: &mut Self) {
        let client = other.clients.remove(0);
        client.ip(&["link", "del", "eth0"]);
        self.plug(&client, "eth0");
        self.clients.push(client);
        self.address(u8::try_from(self.clients.len() - 1).unwrap());
    }

    /// The inner address of a client.
    pub(crate) fn inner(&self, client: u8) -> Ipv4Addr {
        if self.rules.kind.is_public() {
            return Ipv4Addr::new(203, 0, 113, 16 * self.number + 2 + client);
        }
        let [a, b, c] = self.lan;
        Ipv4Addr::new(a, b, c, 2 + client)
    }

    /// The router's inner address.
    pub(crate) fn door(&self) -> Ipv4Addr {
        let [a, b, c] = self.lan;
        Ipv4Addr::new(a, b, c, 1)
    }

    /// The address of a client in IPv6.
    pub(crate) fn inner6(&self, client: u8) -> Ipv6Addr {
        format!("2001:db8:{}::{}", self.number, 2 + client).parse().unwrap()
    }

    /// Where a client is seen by others.
    pub(crate) fn outer(&self, client: u8) -> IpAddr {
        if self.rules.kind.is_public() { self.inner(client).into() } else { self.wan.into() }
    }

    /// Gives clients addresses that suit the kind, and none of before.
    fn address_clients(&self) {
        for number in 0..u8::try_from(self.clients.len()).unwrap() {
            self.address(number);
        }
    }

    fn address(&self, number: u8) {
        let inner = self.inner(number);
        let [a, b, c] = self.lan;
        let (length, door) = if self.rules.kind.is_public() {
            (28, format!("203.0.113.{}", 16 * u16::from(self.number) + 1))
        } else {
            (24, format!("{a}.{b}.{c}.1"))
        };
        self.clients[usize::from(number)].sh(&format!(
            "ip -4 addr flush dev eth0
             ip addr add {inner}/{length} dev eth0
             ip route replace default via {door}"
        ));
    }

    /// Gives the site IPv6 too, without a NAT: the kind's filter is its firewall. Returns when its clients
    /// reach a host: first packets are lost while links are new and neighbours unknown.
    pub(crate) fn add_v6(&mut self, host: &PublicHost) {
        let number = self.number;
        self.router.sh(&format!(
            "ip addr add 2001:db8::{}/64 dev wan nodad
             ip addr add 2001:db8:{number}::1/64 dev lan nodad",
            20 + number
        ));
        self.router.feed("ip", &["-batch", "-"], &routes6(Some(number)));
        for (client, space) in (0..).zip(&self.clients) {
            space.sh(&format!(
                "ip addr add {}/64 dev eth0 nodad
                 ip -6 route add default via 2001:db8:{number}::1",
                self.inner6(client)
            ));
            let address = host.v6()[0].to_string();
            let mut ping = space.command("ping");
            ping.args(["-c", "1", "-W", "1", &address]);
            eventually("IPv6 works", || run(&mut ping).status.success().then_some(()));
        }
    }
}
