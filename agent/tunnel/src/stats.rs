//! Figures of the data plane: plain counters, written by each shard for itself, copied out and added up on
//! request.

use std::time::Duration;

use crate::mailbox::NetworkId;
use crate::way::Way;

/// One moment's figures.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Figures of all shards together.
    pub counters: Counters,
    /// Figures per network, in order of their ids.
    pub networks: Vec<NetworkStats>,
}

impl Stats {
    /// Adds the figures of another shard, which has other peers of the same networks.
    pub(crate) fn add(&mut self, other: Self) {
        self.counters.add(&other.counters);
        for network in other.networks {
            match self.networks.binary_search_by_key(&network.id, |known| known.id) {
                Ok(at) => {
                    let peers = &mut self.networks[at].peers;
                    peers.extend(network.peers);
                    peers.sort_unstable_by_key(|peer| peer.key);
                }
                Err(at) => self.networks.insert(at, network),
            }
        }
    }
}

/// Figures of one network.
#[derive(Clone, Debug)]
pub struct NetworkStats {
    /// The network.
    pub id: NetworkId,
    /// Its peers, in order of their keys.
    pub peers: Vec<PeerStats>,
}

/// Figures of one peer.
#[derive(Clone, Debug)]
pub struct PeerStats {
    /// The peer's public key.
    pub key: [u8; 32],
    /// By which way it is sent to; `None` while none was found.
    pub way: Option<Way>,
    /// Age of the last completed handshake.
    pub last_handshake: Option<Duration>,
    /// Bytes of overlay packets received.
    pub rx_bytes: u64,
    /// Bytes of overlay packets sent.
    pub tx_bytes: u64,
    /// Whether packets can be sent at this moment.
    pub session: bool,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the shard started. They only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Returns all counts with their names, in a fixed order.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Adds the counts of `other`, kept elsewhere.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Frames read from devices; a super-packet counts once.
    device_frames_in,
    /// Packets those frames were split into.
    device_packets_in,
    /// Writes to devices; a coalesced packet counts once.
    device_frames_out,
    /// Packets carried by those writes.
    device_packets_out,
    /// Trains sent; one system call each.
    trains_out,
    /// Datagrams in those trains.
    datagrams_out,
    /// Messages received; the kernel may have merged several datagrams into one.
    trains_in,
    /// Datagrams in those messages.
    datagrams_in,
    /// Receive calls that returned something.
    receives,
    /// Bytes of overlay packets sealed.
    bytes_out,
    /// Bytes of overlay packets opened and accepted.
    bytes_in,
    /// Receive calls that found nothing.
    receives_empty,
    /// Reads of devices that found nothing.
    device_reads_empty,
    /// Datagrams the kernel dropped because a socket's receive buffer was full.
    drop_socket_full,
    /// Times the shard slept and woke.
    wakeups,
    /// Frames, messages and errands handed to other shards, whose peers they are of.
    parcels_out,
    /// Those that found no buffer or no room with the other shard.
    drop_parcels_full,
    /// Trains that had to wait for room in the socket.
    trains_parked,
    /// Trains dropped because too many waited already.
    drop_parked_full,
    /// Trains the kernel refused to send.
    drop_send_refused,
    /// Trains sent datagram by datagram because the kernel refused them whole.
    segmentation_fallbacks,
    /// Trains sent datagram by datagram because the way is narrower than their datagrams.
    trains_too_wide,
    /// Offloads that were refused and are tried again.
    offloads_tried_again,
    /// Coalesced packets written one by one because the kernel refused them whole.
    coalescing_fallbacks,
    /// Source addresses that went away and were let go.
    sources_lost,
    /// Device writes refused.
    drop_device_refused,
    /// Frames from a device that are no IP packet or have a shape nobody makes.
    drop_malformed_frame,
    /// Packets from a device whose source is not this node's.
    drop_foreign_source,
    /// Packets from a device for an address that no peer owns.
    drop_no_route,
    /// Packets larger than the MTU.
    drop_too_big,
    /// Packets and super-packets that were cut smaller to fit their path.
    packets_cut,
    /// Connections whose segment size was lowered to fit.
    segment_sizes_lowered,
    /// Packets of senders without ECN that met congestion (RFC 6040 asks for the drop).
    drop_congestion,
    /// Frames dropped because too many waited for a session.
    drop_pending,
    /// Datagrams that are neither WireGuard's nor anything the control side takes.
    drop_malformed_datagram,
    /// Datagrams handed to the control side: path frames, relays' control frames, answers of STUN servers.
    raw_in,
    /// Datagrams sent for the control side.
    raw_out,
    /// Datagrams for the control side that were too many or too long.
    drop_raw,
    /// Relayed datagrams under no lease of ours, or from elsewhere than the lease's relay.
    drop_relayed,
    /// Messages with a receiver index that no tunnel of ours has.
    drop_unknown_index,
    /// Data that failed to authenticate.
    drop_authentication,
    /// Data whose counter was seen before; the second of two copies that went different ways is one.
    drop_replay,
    /// Data whose counter is too old to tell.
    drop_too_old,
    /// Data packets that went a second way as well.
    copies_out,
    /// Handshake messages that were refused.
    drop_handshake,
    /// Initiations that waited for their turn, so that packets were not held up.
    handshakes_deferred,
    /// Initiations dropped because too many waited for their turn.
    drop_handshakes_full,
    /// Suspensions of the machine that drew new handshakes.
    resumptions,
    /// Cookie replies sent because of load.
    cookies_out,
    /// Packets opened whose source does not belong to the peer that sealed them.
    drop_source,
    /// Packets opened whose destination is not this node's.
    drop_destination,
    /// Packets opened that are no IP packet.
    drop_malformed_packet,
    /// Initiations sent.
    initiations_out,
    /// Responses sent.
    responses_out,
    /// Handshakes completed.
    handshakes,
    /// ICMP errors written to devices, or sent back by a gateway.
    icmp_out,
    /// Packets that a gateway sent on from one peer to another.
    packets_forwarded,
    /// Packets that a gateway did not send on since they had been forwarded too often.
    drop_expired,
    /// Tunnels alive at the moment (grows and shrinks).
    tunnels,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(handshakes: u64, networks: &[(u32, &[u8])]) -> Stats {
        let peer = |key: &u8| PeerStats {
            key: [*key; 32],
            way: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            session: false,
        };
        let network = |(id, keys): &(u32, &[u8])| NetworkStats {
            id: NetworkId(*id),
            peers: keys.iter().map(peer).collect(),
        };
        let counters = Counters { handshakes, ..Counters::default() };
        Stats { counters, networks: networks.iter().map(network).collect() }
    }

    #[test]
    fn the_figures_of_shards_add_up_to_those_of_one() {
        let mut sum = Stats::default();
        for part in [stats(2, &[(1, &[3, 9]), (4, &[])]), stats(3, &[(1, &[1, 5]), (4, &[7])])] {
            sum.add(part);
        }
        let keys: Vec<(u32, Vec<u8>)> = sum
            .networks
            .iter()
            .map(|network| (network.id.0, network.peers.iter().map(|peer| peer.key[0]).collect()))
            .collect();
        assert_eq!(keys, [(1, vec![1, 3, 5, 9]), (4, vec![7])]);
        assert_eq!(sum.counters.handshakes, 5);
    }
}
