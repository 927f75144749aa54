//! What is noticed of the traffic of a peer whose ways are chosen for it.
//!
//! Whoever chooses hears that data leaves, that the peer fell silent, and by which way it speaks. A peer is *silent*
//! when packets find no answer for a while though there had been some in both directions: one that merely receives says
//! so by empty messages (WireGuard paper §6.5) and is not. Those come ten seconds late; until then such a stream is
//! *unanswered*, and only whoever chooses its ways can find out whether it arrives.

use std::time::{Duration, Instant};

use super::{Engine, Output};
use crate::limits;
use crate::mailbox::{Event, NetworkId};
use crate::way::Way;

/// What was noticed of one peer.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Data packets sent since the peer was last heard, and when the first of them left.
    unanswered: u32,
    since: Option<Instant>,
    last_sent: Option<Instant>,
    /// Whether data went both ways when the peer was last heard.
    mutual: bool,
    /// The way that was last told.
    heard_by: Option<Way>,
    told_heard: Option<Instant>,
    told_sending: Option<Instant>,
    told_silent: Option<Instant>,
    told_unanswered: Option<Instant>,
}

impl Watch {
    /// Takes note of data packets that left; returns whether that is to be told.
    pub(crate) fn sent(&mut self, now: Instant, packets: u32) -> bool {
        self.unanswered = self.unanswered.saturating_add(packets);
        self.since.get_or_insert(now);
        self.last_sent = Some(now);
        let told = rested(self.told_sending, now, limits::SENDING_INTERVAL);
        if told {
            self.told_sending = Some(now);
        }
        told
    }

    /// Takes note of an authentic message, of data or empty; returns whether its way is to be told.
    pub(crate) fn heard(&mut self, now: Instant, way: Way, data: bool) -> bool {
        (self.unanswered, self.since, self.told_silent) = (0, None, None);
        self.mutual = data && !rested(self.last_sent, now, limits::MUTUAL);
        // Copies that go two ways arrive by turns.
        let told = data && self.heard_by != Some(way) && rested(self.told_heard, now, limits::HEARD_INTERVAL);
        if told {
            (self.heard_by, self.told_heard) = (Some(way), Some(now));
        }
        told
    }

    /// Whether the peer is silent and that is to be told.
    pub(crate) fn fell_silent(&mut self, now: Instant) -> bool {
        let silent = self.mutual
            && self.unanswered >= limits::SILENT_PACKETS
            && self.since.is_some_and(|since| now.saturating_duration_since(since) >= limits::SILENCE);
        let told = silent && rested(self.told_silent, now, limits::SILENCE);
        if told {
            self.told_silent = Some(now);
        }
        told
    }

    /// Whether data has found no answer of any kind and that is to be told: each second, while more of it leaves.
    pub(crate) fn went_unanswered(&mut self, now: Instant) -> bool {
        let unanswered =
            self.since.is_some_and(|since| now.saturating_duration_since(since) >= limits::SILENCE);
        let told = unanswered
            && self.last_sent > self.told_unanswered
            && rested(self.told_unanswered, now, limits::SILENCE);
        if told {
            self.told_unanswered = Some(now);
        }
        told
    }

    /// Whether the peer was found silent and not heard since.
    pub(crate) fn is_silent(&self) -> bool {
        self.told_silent.is_some()
    }

    /// Whether silence could be noticed soon, so that the peer is to be looked at often.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.since.is_some() && (self.mutual || self.last_sent > self.told_unanswered)
    }
}

impl Engine {
    /// Takes note of data packets that left for a peer whose ways are chosen for it.
    #[inline]
    pub(super) fn note_sent(&mut self, now: Instant, peer: u32, packets: u32, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(watch) = state.watch.as_mut().filter(|_| packets > 0) else { return };
        let sending = watch.sent(now, packets);
        let Some(net) = self.networks.get(state.network) else { return };
        if sending {
            let carried = state.tx_bytes + state.rx_bytes;
            out.event(Event::Sending { network: net.id, key: state.key, carried });
        }
        tell_silence(watch, now, (net.id, state.key), out);
    }

    /// Takes note of an authentic message of such a peer, of data or empty.
    #[inline]
    pub(super) fn note_heard(&mut self, now: Instant, peer: u32, way: Way, data: bool, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(watch) = &mut state.watch else { return };
        if watch.heard(now, way, data)
            && let Some(net) = self.networks.get(state.network)
        {
            out.event(Event::Heard { network: net.id, key: state.key, way });
        }
    }

    /// Looks whether such a peer fell silent.
    pub(super) fn note_silence(&mut self, now: Instant, peer: u32, out: &mut dyn Output) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(watch) = &mut state.watch else { return };
        if let Some(net) = self.networks.get(state.network) {
            tell_silence(watch, now, (net.id, state.key), out);
        }
    }
}

/// Tells that a peer is silent, or that nothing is known of whether it hears.
fn tell_silence(
    watch: &mut Watch,
    now: Instant,
    (network, key): (NetworkId, [u8; 32]),
    out: &mut dyn Output,
) {
    if watch.fell_silent(now) {
        out.event(Event::Silent { network, key });
    } else if watch.went_unanswered(now) {
        out.event(Event::Unanswered { network, key });
    }
}

/// Whether something last done at `last` may be done again.
fn rested(last: Option<Instant>, now: Instant, interval: Duration) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn way(port: u16) -> Way {
        Way::straight(([192, 0, 2, 1], port).into())
    }

    /// A peer with which data was exchanged at `now`.
    fn talking(now: Instant) -> Watch {
        let mut watch = Watch::default();
        watch.sent(now, 1);
        watch.heard(now, way(1), true);
        watch
    }

    #[test]
    fn five_packets_and_a_second_without_an_answer_are_silence_told_each_second() {
        let now = crate::clock::now();
        let mut watch = talking(now);
        watch.sent(now, 4);
        assert!(!watch.fell_silent(now + ms(5000)), "four packets may be all there is to say");
        watch.sent(now, 1);
        assert!(!watch.fell_silent(now + ms(999)));
        assert!(watch.fell_silent(now + ms(1000)) && watch.is_silent());
        assert!(!watch.fell_silent(now + ms(1999)));
        assert!(watch.fell_silent(now + ms(2000)));
        watch.heard(now + ms(2100), way(1), true);
        assert!(!watch.is_silent() && !watch.fell_silent(now + ms(3200)));
    }

    #[test]
    fn a_peer_that_only_receives_is_not_silent() {
        let now = crate::clock::now();
        let mut watch = Watch::default();
        watch.sent(now, 100);
        assert!(!watch.fell_silent(now + ms(5000)), "it never said anything");
        let mut watch = talking(now);
        watch.heard(now + ms(10), way(1), false);
        watch.sent(now + ms(20), 100);
        assert!(!watch.fell_silent(now + ms(5000)), "it said that it has nothing to say");
        let mut watch = talking(now);
        watch.heard(now + ms(3000), way(1), true);
        watch.sent(now + ms(3010), 100);
        assert!(!watch.fell_silent(now + ms(9000)), "it spoke, but not in a conversation");
    }

    #[test]
    fn data_without_any_answer_is_told_each_second_as_long_as_more_leaves() {
        let now = crate::clock::now();
        let mut watch = Watch::default();
        watch.sent(now, 1);
        assert!(!watch.went_unanswered(now + ms(999)));
        assert!(watch.is_awaiting() && watch.went_unanswered(now + ms(1000)));
        assert!(!watch.is_awaiting() && !watch.went_unanswered(now + ms(5000)), "nothing has left since");
        watch.sent(now + ms(5100), 1);
        assert!(watch.went_unanswered(now + ms(5100)), "it has found no answer for five seconds");
        watch.sent(now + ms(5200), 1);
        assert!(!watch.went_unanswered(now + ms(6099)) && watch.went_unanswered(now + ms(6100)));
        watch.sent(now + ms(6200), 1);
        watch.heard(now + ms(6300), way(1), false);
        assert!(!watch.went_unanswered(now + ms(9000)), "an empty message is an answer");
    }

    #[test]
    fn sending_is_told_every_two_seconds_and_a_new_way_at_once() {
        let now = crate::clock::now();
        let mut watch = Watch::default();
        let told: Vec<bool> = [0, 1, 1999, 2000, 2001, 4000].map(|at| watch.sent(now + ms(at), 1)).to_vec();
        assert_eq!(told, [true, false, false, true, false, true]);
        assert!(watch.heard(now, way(1), true) && !watch.heard(now, way(1), true));
        assert!(!watch.heard(now + ms(10), way(2), true), "two ways that alternate are not told each time");
        assert!(watch.heard(now + ms(300), way(2), true) && !watch.heard(now + ms(600), way(1), false));
    }
}
