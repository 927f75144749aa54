//! What becomes of a frame, by its header and where it came from. Pure but for the table that it reads.

use lacis_proto::relay::{HEADER, Header, Kind, MAGIC, RelayAddress, header};
use lacis_proto::stun;

use crate::{
    leg::Leg,
    table::{Lease, Table},
};

/// What a datagram is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A payload for another lease.
    Data(Header),
    /// For the desk: it asks for a lease.
    Hello,
    /// For the desk: it is about a lease.
    Refresh,
    /// Answered at once.
    Probe(Header),
    /// Answered at once.
    Stun,
    /// Nothing that a relay is told.
    Foreign,
}

/// What becomes of DATA frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They go to this lease, under this header.
    Forward {
        /// Who sends.
        from: Lease,
        /// Who receives.
        to: Lease,
    },
    /// The lease is not where they came from: the sender is told by this frame.
    NotBound([u8; HEADER]),
    /// There is no such end: the sender is told by this frame.
    Unknown([u8; HEADER]),
    /// Their receiver does not want them.
    Blocked,
}

/// Tells what a datagram is.
pub(crate) fn sort(bytes: &[u8]) -> Sort {
    if bytes.first() != Some(&MAGIC) {
        return if stun::is_stun(bytes) { Sort::Stun } else { Sort::Foreign };
    }
    let Some(header) = Header::parse(bytes) else { return Sort::Foreign };
    match header.kind {
        Kind::Data => Sort::Data(header),
        // As costly as a HELLO, and as rare: it waits in the same queue.
        Kind::Hello | Kind::Revoke => Sort::Hello,
        Kind::Refresh | Kind::Block => Sort::Refresh,
        Kind::Probe => Sort::Probe(header),
        // What only relays say.
        Kind::HelloAck
        | Kind::HelloRetry
        | Kind::RefreshAck
        | Kind::NotBound
        | Kind::PeerUnknown
        | Kind::ProbeAck
        | Kind::GoAway
        | Kind::RevokeAck => Sort::Foreign,
    }
}

/// Decides on DATA frames with this header from this leg.
pub(crate) fn decide(table: &Table, from: &Leg, data: Header) -> Verdict {
    let Some(sender) = table.lease(data.lease).filter(|lease| lease.is_at(from)) else {
        return Verdict::NotBound(header(Kind::NotBound, data.lease, data.address));
    };
    let Some(to) = table.find(sender.group, data.address) else {
        return Verdict::Unknown(header(Kind::PeerUnknown, data.lease, data.address));
    };
    if table.blocks(to.id, sender.address) {
        return Verdict::Blocked;
    }
    Verdict::Forward { from: sender, to }
}

/// The header under which a frame reaches its receiver.
pub(crate) fn delivered(to: &Lease, from: RelayAddress) -> [u8; HEADER] {
    header(Kind::Data, to.id, from)
}

/// How many of the datagrams in `bytes`, of `stride` bytes each but the last, begin with the header of the first.
pub(crate) fn run(bytes: &[u8], stride: usize) -> usize {
    let mut datagrams = bytes.chunks(stride.max(1));
    let Some(first) = datagrams.next().and_then(|first| first.first_chunk::<HEADER>()) else { return 1 };
    1 + datagrams.take_while(|other| other.first_chunk::<HEADER>() == Some(first)).count()
}

/// Writes a header over that of every datagram.
pub(crate) fn rewrite(bytes: &mut [u8], stride: usize, header: [u8; HEADER]) {
    for datagram in bytes.chunks_mut(stride.max(1)) {
        if let Some(place) = datagram.first_chunk_mut() {
            *place = header;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::Place;

    fn leg(port: u16) -> Leg {
        Leg::Udp(Place::of(([192, 0, 2, 1], port).into()))
    }

    fn lease(place: u32, group: u32, address: u64, port: u16) -> Lease {
        let id = place | 1 << crate::limits::PLACE_BITS;
        Lease { id, group, address: RelayAddress(address), class: 0, leg: leg(port) }
    }

    #[test]
    fn frames_go_between_leases_of_one_group_and_from_where_the_sender_is() {
        let table = Table::new(1);
        let [a, b, c] = [lease(1, 1, 10, 1), lease(2, 1, 20, 2), lease(3, 2, 30, 3)];
        [a, b, c].into_iter().for_each(|lease| table.put(lease));
        let data = |lease, address| Header { kind: Kind::Data, lease, address: RelayAddress(address) };
        assert_eq!(decide(&table, &leg(1), data(a.id, 20)), Verdict::Forward { from: a, to: b });
        assert_eq!(decide(&table, &leg(1), data(a.id, 10)), Verdict::Forward { from: a, to: a }, "to itself");
        for (why, port, to) in [
            ("its own port changed", 9, data(a.id, 20)),
            ("another's lease", 1, data(b.id, 10)),
            ("no such lease", 1, data(77, 20)),
            ("zero", 1, data(0, 20)),
        ] {
            let told = header(Kind::NotBound, to.lease, to.address);
            assert_eq!(decide(&table, &leg(port), to), Verdict::NotBound(told), "{why}");
        }
        for (why, address) in [("of another group", 30), ("nobody", 40)] {
            let told = header(Kind::PeerUnknown, a.id, RelayAddress(address));
            assert_eq!(decide(&table, &leg(1), data(a.id, address)), Verdict::Unknown(told), "{why}");
        }
        table.set_blocked(b.id, &[a.address]);
        assert_eq!(decide(&table, &leg(1), data(a.id, 20)), Verdict::Blocked);
    }

    #[test]
    fn what_only_relays_say_and_what_is_foreign_is_not_taken() {
        let kinds = Kind::ALL.map(|kind| sort(&header(kind, 1, RelayAddress(2))));
        let taken = kinds.iter().filter(|sort| **sort != Sort::Foreign).count();
        assert_eq!(taken, 6, "DATA, HELLO, REFRESH, PROBE, BLOCK and REVOKE");
        for foreign in [&[][..], &[MAGIC], &[1; 148], &[0x0D; 60], &[0; 20]] {
            assert_eq!(sort(foreign), Sort::Foreign);
        }
        assert_eq!(sort(&stun::request([1; 12])), Sort::Stun);
    }

    #[test]
    fn a_run_ends_where_the_header_changes() {
        let frame = |address: u64| [&header(Kind::Data, 1, RelayAddress(address))[..], &[7; 4]].concat();
        let mut bytes = [frame(1), frame(1), frame(2), frame(1)].concat();
        assert_eq!(run(&bytes, 20), 2);
        bytes.truncate(45);
        assert_eq!(run(&bytes, 20), 2, "the last is too short to be the same");
        assert_eq!(run(&[], 20), 1);
        rewrite(&mut bytes[..40], 20, [9; HEADER]);
        assert_eq!((&bytes[..16], &bytes[16..20], &bytes[20..36]), (&[9; 16][..], &[7; 4][..], &[9; 16][..]));
    }
}
