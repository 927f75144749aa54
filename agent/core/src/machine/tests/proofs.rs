//! Peers that are not who they were, and a machine that is not alone.

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{CopySeen, Host, IdentityKey, PeerStatement, Proof, Rollcall, Signature, SignedStatement};

use super::*;
use crate::limits::PROOF_PAUSE;

fn identity(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// What node `n` states of its peer, with this key and number, as control shows it.
fn proof(n: u8, key_of: u8, serial: u64) -> Proof {
    signed_by(n, n, key_of, serial)
}

fn signed_by(n: u8, signer: u8, key_of: u8, serial: u64) -> Proof {
    let statement =
        PeerStatement { group: group(1), peer: peer(n), host: Host(n.into()), key: key(key_of), serial };
    let signer = identity(signer);
    let signature = Signature(signer.sign(&statement.signed_bytes()).to_bytes());
    let identity = IdentityKey::try_new(signer.verifying_key().to_bytes()).unwrap();
    Proof { node: node(n), identity, said: SignedStatement { statement, signature } }
}

impl Lab {
    fn strict() -> Self {
        let mut lab = Self::new();
        let strict = Boot { proofs: Proofs::Require, ..boot(lab.control.clone()) };
        lab.core = AgentCore::new(strict);
        lab.event(Event::Started);
        lab
    }

    fn meets(&mut self, n: u8) {
        self.event(Event::HandshakeDone { group: group(1), key: key(n) });
        self.run_for(PROOF_PAUSE, |_| {});
    }

    /// Control answers whatever it is asked by these proofs, for so long.
    fn answers(&mut self, proofs: &[Proof], span: Duration) {
        let end = self.now + span;
        loop {
            while let Some((_, asked)) = self.asked.pop() {
                let known = proofs.iter().filter(|proof| asked.contains(&proof.said.statement.peer));
                let proofs = known.cloned().collect();
                self.event(Event::ProofsCame { asked, proofs });
            }
            if self.now >= end {
                return;
            }
            self.run_for(SECOND, |_| {});
            self.line(Line::Beat(Beat { now_ms: 0 }));
        }
    }

    fn doubts(&self) -> Vec<(PeerId, Doubt, bool)> {
        self.core.alarms().map(|alarm| (alarm.peer.clone(), alarm.doubt, alarm.refused)).collect()
    }

    /// Control gives a peer another key.
    fn swap(&mut self, n: u8, key_of: u8) {
        let mut record = peer_record(n, "web");
        record.keys[0].key = key(key_of);
        self.commit(&group_scope(1), [put_record(n, record)]);
        self.answer(&group_scope(1), None);
    }
}

#[test]
fn a_peer_is_asked_about_when_it_is_met_and_not_again() {
    let mut lab = Lab::new();
    lab.serve();
    lab.run_for(SECOND, |_| {});
    assert!(lab.asked.is_empty(), "nobody was met");
    lab.meets(6);
    lab.meets(6);
    assert_eq!(lab.asked.len(), 1);
    assert_eq!(lab.asked[0].1, [peer(6)]);
    lab.answers(&[proof(6, 6, 1)], 60 * SECOND);
    assert_eq!((lab.pins_saved, lab.core.pins().len(), lab.doubts().len()), (1, 1, 0));
    lab.meets(6);
    assert!(lab.asked.is_empty());
}

#[test]
fn a_key_that_the_node_has_not_signed_is_an_alarm() {
    let mut lab = Lab::new();
    lab.serve();
    lab.meets(6);
    lab.answers(&[proof(6, 6, 1)], SECOND);
    lab.swap(6, 66);
    lab.answers(&[proof(6, 6, 1)], 30 * SECOND);
    assert_eq!(lab.doubts(), [(peer(6), Doubt::Unproven, false)]);
    assert!(lab.peers().contains(&key(66)), "warned of, and used");
    let told = |lab: &Lab| lab.notices.iter().filter(|notice| notice.is_alarm()).count();
    assert_eq!((told(&lab), lab.core.alarms_total()), (1, 1));
    lab.answers(&[proof(6, 6, 1)], 3600 * SECOND);
    assert_eq!(told(&lab), 1, "told once");
    lab.swap(6, 6);
    assert!(lab.doubts().is_empty(), "over when control names the old key again");
}

#[test]
fn a_key_that_the_node_has_signed_is_taken_over() {
    let mut lab = Lab::new();
    lab.serve();
    lab.meets(6);
    lab.answers(&[proof(6, 6, 1)], SECOND);
    lab.swap(6, 66);
    // The statement comes a moment after the key.
    lab.answers(&[proof(6, 6, 1)], 3 * SECOND);
    lab.answers(&[proof(6, 66, 2)], 30 * SECOND);
    assert!(lab.doubts().is_empty());
    assert_eq!(lab.core.pins()[&peer(6)].said.statement.key, key(66));
    lab.swap(6, 6);
    lab.answers(&[proof(6, 6, 1)], 30 * SECOND);
    assert_eq!(lab.doubts(), [(peer(6), Doubt::Outdated, false)], "a former key does not come back");
}

#[test]
fn a_peer_that_takes_a_new_key_waits_for_one_answer_of_control() {
    let mut lab = Lab::strict();
    lab.serve();
    lab.answers(&[proof(6, 6, 1)], 2 * SECOND);
    assert!(lab.peers().contains(&key(6)));
    lab.swap(6, 66);
    assert!(!lab.peers().contains(&key(66)), "not proven yet");
    lab.answers(&[proof(6, 66, 2)], Duration::ZERO);
    assert!(lab.peers().contains(&key(66)), "no time has passed");
}

#[test]
fn what_does_not_fit_is_told_apart() {
    let elsewhere = |mut proof: Proof| {
        proof.said.statement.host = Host(99);
        let bytes = proof.said.statement.signed_bytes();
        proof.said.signature = Signature(identity(6).sign(&bytes).to_bytes());
        proof
    };
    let forged = Proof { said: signed_by(6, 9, 66, 2).said, ..proof(6, 66, 2) };
    for (shown, doubt) in [
        (signed_by(6, 9, 66, 2), Doubt::OtherIdentity),
        (forged, Doubt::Unsigned),
        (proof(6, 66, 1), Doubt::Outdated),
        (elsewhere(proof(6, 66, 2)), Doubt::OtherAddress),
    ] {
        let mut lab = Lab::new();
        lab.serve();
        lab.meets(6);
        lab.answers(&[proof(6, 6, 1)], SECOND);
        lab.swap(6, 66);
        lab.answers(&[shown], SECOND);
        assert_eq!(lab.doubts(), [(peer(6), doubt, false)]);
        assert_eq!(lab.core.pins()[&peer(6)], proof(6, 6, 1), "what is remembered stays");
    }
}

#[test]
fn an_agent_that_states_nothing_is_no_alarm_until_proofs_are_required() {
    let mut lab = Lab::new();
    lab.serve();
    lab.meets(6);
    lab.answers(&[], 3600 * SECOND);
    assert!(lab.doubts().is_empty());
    let mut lab = Lab::strict();
    lab.serve();
    lab.answers(&[], 3600 * SECOND);
    assert_eq!(lab.doubts(), [(peer(6), Doubt::Unproven, true), (peer(7), Doubt::Unproven, true)]);
}

#[test]
fn where_proofs_are_required_only_proven_peers_are_used() {
    let mut lab = Lab::strict();
    lab.serve();
    assert!(lab.peers().is_empty());
    lab.answers(&[proof(6, 6, 1), signed_by(7, 9, 7, 1)], 2 * SECOND);
    assert_eq!(lab.peers(), [key(6), key(7)], "whoever signs first is believed");
    lab.swap(6, 66);
    assert_eq!(lab.peers(), [key(7)], "refused at once");
    lab.answers(&[proof(6, 66, 2)], 10 * SECOND);
    assert_eq!(lab.peers(), [key(7), key(66)]);

    // A peer without an agent signs nothing; one that had an agent does not become one.
    let mut plain = peer_record(8, "web");
    plain.node = None;
    lab.commit(&group_scope(1), [put_record(8, plain)]);
    let mut bared = peer_record(6, "web");
    bared.keys[0].key = key(67);
    bared.node = None;
    lab.commit(&group_scope(1), [put_record(6, bared)]);
    lab.answer(&group_scope(1), None);
    assert_eq!(lab.peers(), [key(7), key(8)]);
}

#[test]
fn what_is_remembered_holds_over_restarts_and_without_control() {
    let mut lab = Lab::new();
    let strict = Boot {
        proofs: Proofs::Require,
        pins: BTreeMap::from([(peer(6), proof(6, 6, 1))]),
        ..boot(lab.control.clone())
    };
    lab.core = AgentCore::new(strict);
    lab.event(Event::Started);
    assert_eq!(lab.peers(), [key(6)], "before a word from control");
}

#[test]
fn a_copy_of_a_machine_has_no_interfaces_until_control_lets_it_in() {
    let mut lab = Lab::new();
    lab.refused(Code::IdentityInUse);
    assert!(lab.core.desired().interfaces.is_empty() && !lab.resolves(WEB));
    let is_gone = |notice: &Notice| matches!(notice, Notice::GroupGone { .. });
    assert!(!lab.notices.iter().any(is_gone), "it is still a member");
    assert!(lab.saved.is_empty() && lab.dropped.is_empty());
    assert!(lab.wait() >= 64 * SECOND);
    lab.run_for(lab.wait(), |_| {});
    lab.serve();
    assert_eq!(lab.peers().len(), 2);
    assert!(lab.resolves(WEB));
}

#[test]
fn the_first_machine_answers_for_itself_and_calls_its_peers_back() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportDone { seq: 1_001 });
    lab.line(Line::Rollcall(Rollcall {}));
    assert_eq!(lab.reports.len(), 2, "at once");
    let calls = lab.calls.len();
    let copy = CopySeen { host: "web-2".into(), from: "192.0.2.9:1".parse().unwrap() };
    lab.line(Line::Copy(copy.clone()));
    assert_eq!(lab.calls.len(), calls + 1);
    assert_eq!(lab.core.copy(lab.now), Some(&copy));
    assert_eq!(lab.core.copy(lab.now + 3600 * SECOND), None);
    assert_eq!(lab.peers().len(), 2);
}

#[test]
fn what_is_remembered_is_limited_and_those_who_are_there_come_first() {
    let stated = proof(9, 9, 1);
    let stranger = |n: u32| {
        let mut bytes = [9; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let id = PeerId::from_random(bytes);
        let mut proof = stated.clone();
        proof.said.statement.peer = id.clone();
        (id, proof)
    };
    let most = u32::try_from(crate::limits::MAX_PINS).unwrap();
    let full = Boot { pins: (0..most).map(stranger).collect(), ..boot(Lab::new().control) };
    let mut lab = Lab::new();
    lab.core = AgentCore::new(full);
    lab.event(Event::Started);
    lab.serve();
    lab.meets(6);
    lab.answers(&[proof(6, 6, 1)], SECOND);
    assert_eq!(lab.core.pins().keys().collect::<Vec<_>>(), [&peer(6)]);
}

#[test]
fn of_those_who_left_their_group_the_latest_are_remembered() {
    let (there, gone) = (proof(6, 6, 1), proof(9, 9, 1));
    let stranger = |n: u32| {
        let mut bytes = [9; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let mut proof = gone.clone();
        proof.said.statement.peer = PeerId::from_random(bytes);
        proof.said.statement.serial = u64::from(n);
        (proof.said.statement.peer.clone(), proof)
    };
    let most = u32::try_from(crate::limits::MAX_PINS_GONE).unwrap();
    let strangers: Vec<_> = (0..most + 100).map(stranger).collect();
    let elsewhere = {
        let (_, mut proof) = stranger(most + 100);
        proof.said.statement.group = group(2);
        (proof.said.statement.peer.clone(), proof)
    };
    let pins = strangers.iter().cloned().chain([elsewhere.clone()]).collect();
    let mut lab = Lab::new();
    lab.core = AgentCore::new(Boot { pins, ..boot(Lab::new().control) });
    lab.event(Event::Started);
    lab.serve();
    lab.meets(6);
    lab.answers(&[there], SECOND);
    let left = lab.core.pins();
    assert!(left.contains_key(&peer(6)));
    assert!(left.contains_key(&elsewhere.0), "nothing is known of the group that it is in");
    assert!(strangers[..100].iter().all(|(id, _)| !left.contains_key(id)));
    assert!(strangers[100..].iter().all(|(id, _)| left.contains_key(id)));
}
