//! Every kind of NAT with every other: expected beside seen. `tests/nat-matrix` runs all of it.

use std::time::{Duration, Instant};

use support::{MEETINGS, word};

use crate::{
    kind::Kind,
    mesh::{Mesh, Node},
    pair::{Class, Seen, meet},
    site::Site,
};

/// From a port to the middle: 20 ms one way between any two.
pub(crate) const HALF: Duration = Duration::from_millis(10);

/// A direct path that is expected is there by then: the third round begins at 10 s (D5).
pub(crate) const DIRECT_WITHIN: Duration = Duration::from_secs(14);

/// Where a relay is expected, nothing else comes within this: two rounds.
pub(crate) const RELAYED_FOR: Duration = Duration::from_secs(4);

/// What a pair is expected to come to.
pub(crate) fn expected(one: Kind, other: Kind) -> Class {
    let place = |kind: Kind| Kind::MATRIX.iter().position(|known| *known == kind).unwrap();
    match MEETINGS[place(one)].as_bytes()[place(other)] {
        b'D' => Class::Direct,
        _ => Class::Relayed,
    }
}

/// Two sites whose kinds change, with a node in each, for pair after pair.
pub(crate) struct Arena {
    pub(crate) mesh: Mesh,
    pub(crate) sites: [Site; 2],
    pub(crate) nodes: [Node; 2],
}

impl Arena {
    /// Both nodes have joined and are down.
    pub(crate) fn new() -> Self {
        let mut mesh = Mesh::new(HALF);
        let sites = [1, 2].map(|number| Site::new(&mut mesh.internet, number, Kind::PortRestricted));
        let mut nodes = ["one", "two"].map(|name| {
            let number = usize::from(name == "two");
            mesh.joined(sites[number].client(), name, &["--dns", "off", "--no-portmap"])
        });
        nodes[0].knows("two");
        nodes[1].knows("one");
        for node in &mut nodes {
            node.stop();
            node.keep_fresh();
        }
        Self { mesh, sites, nodes }
    }

    /// Has nodes behind these kinds that know of each other and of a relay, and have never spoken.
    pub(crate) fn prepare(&mut self, kinds: [Kind; 2]) {
        for (node, (site, kind)) in self.nodes.iter_mut().zip(self.sites.iter_mut().zip(kinds)) {
            node.kill();
            site.set(kind);
        }
        self.nodes.iter_mut().for_each(Node::up_fresh);
        self.nodes[0].knows("two");
        self.nodes[1].knows("one");
        self.nodes.iter().for_each(Node::has_a_relay);
    }

    /// Has nodes behind these kinds meet for the first time.
    pub(crate) fn pair(&mut self, kinds: [Kind; 2]) -> Seen {
        self.prepare(kinds);
        let patience = match expected(kinds[0], kinds[1]) {
            Class::Direct => DIRECT_WITHIN,
            Class::Relayed | Class::Nothing => RELAYED_FOR,
        };
        meet(&self.mesh, &self.nodes[0], &[self.sites[0].outer(0)], &self.nodes[1], patience)
    }
}

/// The pairs that are asked for: `PR-SR,…`, or all.
fn asked() -> Vec<[Kind; 2]> {
    let Some(pairs) = word("LACIS_NAT_PAIRS") else {
        return Kind::MATRIX.iter().flat_map(|one| Kind::MATRIX.map(|other| [*one, other])).collect();
    };
    let kind = |name: &str| {
        let found = Kind::MATRIX.into_iter().find(|kind| kind.short() == name);
        found.unwrap_or_else(|| panic!("there is no kind {name:?} in the matrix"))
    };
    let pair = |pair: &str| pair.split_once('-').map(|(one, other)| [kind(one), kind(other)]);
    pairs.split(',').map(|text| pair(text).unwrap_or_else(|| panic!("{text:?} is no pair"))).collect()
}

#[test]
#[ignore = "takes a quarter of an hour: tests/nat-matrix runs it"]
#[expect(clippy::disallowed_methods, reason = "the whole run is timed for whoever waits for it")]
fn every_kind_with_every_other_is_as_expected() {
    let (mut arena, begin) = (Arena::new(), Instant::now());
    let mut wrong = Vec::new();
    println!("{:7} {:8} seen", "pair", "expected");
    let pairs = asked();
    for kinds in &pairs {
        let expected = expected(kinds[0], kinds[1]);
        let seen = arena.pair(*kinds);
        let name = format!("{}-{}", kinds[0].short(), kinds[1].short());
        let mark = if seen.class == expected { "" } else { "   <-- differs" };
        println!("{name:7} {:8} {seen}{mark}", expected.to_string());
        if seen.class != expected {
            wrong.push(name);
        }
    }
    println!("{} pairs in {} s", pairs.len(), begin.elapsed().as_secs());
    assert!(wrong.is_empty(), "not as expected: {}", wrong.join(","));
}
