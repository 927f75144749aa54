use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;

use super::*;
use crate::leg::Place;

fn lease(id: u32, group: u32, address: u64, port: u16) -> Lease {
    let remote: SocketAddr = ([192, 0, 2, 1], port).into();
    Lease { id, group, address: RelayAddress(address), class: 0, leg: Leg::Udp(Place::of(remote)) }
}

#[test]
fn a_slot_takes_what_the_memory_bar_allows() {
    assert_eq!(SLOT_BYTES, 96);
}

#[test]
fn a_lease_is_found_by_number_and_by_address_in_its_group_alone() {
    let table = Table::new(1);
    let first = lease(1 << limits::PLACE_BITS, 7, 99, 4000);
    table.put(first);
    assert_eq!(table.lease(first.id), Some(first));
    assert_eq!(table.find(7, RelayAddress(99)), Some(first));
    assert_eq!(table.find(8, RelayAddress(99)), None, "another group");
    assert_eq!(table.find(7, RelayAddress(98)), None, "another address");
    assert_eq!(table.lease(2 << limits::PLACE_BITS), None, "an older number of the same place");
    table.remove(&first);
    assert_eq!((table.lease(first.id), table.find(7, RelayAddress(99))), (None, None));
}

#[test]
fn blocks_and_debts_end_with_their_lease() {
    let table = Table::new(1);
    let rates = Rates::new(&Limits { bytes_per_second: 1_000_000, ..Limits::default() });
    let (old, new) = (lease(1 << limits::PLACE_BITS, 7, 99, 1), lease(2 << limits::PLACE_BITS, 7, 98, 1));
    table.put(old);
    table.set_blocked(old.id, &[RelayAddress(5)]);
    assert!(table.blocks(old.id, RelayAddress(5)) && !table.blocks(old.id, RelayAddress(6)));
    assert!(table.admit(&old, 300_000, 0, &rates), "the burst");
    assert!(!table.admit(&old, 1_000, 0, &rates));
    assert!(table.admit(&old, 1_000, 1_000_000, &rates), "a millisecond is 1000 bytes");
    table.remove(&old);
    table.put(new);
    assert!(!table.blocks(new.id, RelayAddress(5)));
    assert!(table.admit(&new, 300_000, 1_000_000, &rates));
}

#[test]
fn a_group_shares_one_rate() {
    let table = Table::new(1);
    let rates = Rates::new(&Limits { group_bytes_per_second: 1_000_000, ..Limits::default() });
    let leases = [lease(1 << 20, 7, 1, 1), lease((1 << 20) + 1, 7, 2, 2), lease((1 << 20) + 2, 8, 3, 3)];
    leases.iter().for_each(|lease| table.put(*lease));
    assert!(table.admit(&leases[0], 200_000, 0, &rates));
    assert!(!table.admit(&leases[1], 200_000, 0, &rates), "its neighbour has sent already");
    assert!(table.admit(&leases[2], 200_000, 0, &rates), "another group has its own");
}

proptest! {
    /// Against a map, with addresses that collide often.
    #[test]
    fn the_table_agrees_with_a_map(steps in proptest::collection::vec((0_u32..3000, 0_u64..4, any::<bool>()), 0..3000)) {
        let table = Table::new(9);
        let mut model: BTreeMap<u32, Lease> = BTreeMap::new();
        for (place, spread, put) in steps {
            if put {
                let lease = lease(place | 1 << limits::PLACE_BITS, 1, u64::from(place) + (spread << 40), 1);
                table.put(lease);
                model.insert(place, lease);
            } else if let Some(lease) = model.remove(&place) {
                table.remove(&lease);
            }
        }
        for lease in model.values() {
            prop_assert_eq!(table.find(1, lease.address), Some(*lease));
        }
        let ghosts = (0_u64..3000).filter(|n| table.find(1, RelayAddress(*n)).is_some()).count();
        prop_assert_eq!(ghosts, model.values().filter(|lease| lease.address.0 < 3000).count());
    }
}

#[test]
fn a_reader_never_misses_a_lease_nor_sees_half_of_one_while_others_come_and_go() {
    let table = Table::new(3);
    let stays = lease(5 | 1 << limits::PLACE_BITS, 1, 12_345, 1);
    table.put(stays);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200_u32 {
                let leases: Vec<_> = (0..500)
                    .map(|n| lease((n + 100) | (round + 2) << limits::PLACE_BITS, 1, u64::from(n) << 3, 1))
                    .collect();
                leases.iter().for_each(|lease| table.put(*lease));
                // The same place under another port: a reader sees one or the other.
                table.put(lease(
                    6 | 1 << limits::PLACE_BITS,
                    1,
                    54_321,
                    u16::try_from(round % 2 + 1).unwrap(),
                ));
                leases.iter().for_each(|lease| table.remove(lease));
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            assert_eq!(table.find(1, RelayAddress(12_345)), Some(stays));
            let moved = table.find(1, RelayAddress(54_321));
            let ports = [1, 2].map(|port| lease(6 | 1 << limits::PLACE_BITS, 1, 54_321, port));
            assert!(moved.is_none_or(|lease| ports.contains(&lease)), "{moved:?}");
        }
    });
}
