use std::os::unix::fs::PermissionsExt as _;

use lacis_proto::{Body, Change, Epoch, NodeRecord, RecordId};
use tempfile::TempDir;

use super::*;

fn state() -> (TempDir, State) {
    let dir = TempDir::new().unwrap();
    let state = State::open(&dir.path().join("state")).unwrap();
    (dir, state)
}

fn enrolment() -> Enrolment {
    let key = IdentityKey::try_new([9; 32]).unwrap();
    Enrolment::new(NodeId::from_random([1; 16]), key, vec!["https://192.0.2.1".into()], vec![])
}

fn scope() -> (ScopeId, Scope) {
    let node = NodeId::from_random([1; 16]);
    let mut scope = Scope::new(Epoch(7));
    let label = "web-1".to_owned();
    scope.commit([Change::Put(RecordId::from(&node), Body::Node(NodeRecord { label }))]);
    (ScopeId::from(&node), scope)
}

#[test]
fn keys_are_made_once_and_nobody_else_reads_them() {
    let (dir, state) = state();
    let identity = state.identity().unwrap();
    assert_eq!(state.identity().unwrap().to_bytes(), identity.to_bytes());
    let group = GroupId::from_random([1; 16]);
    let made = state.tunnel_key(&group, || [7; 32]).unwrap();
    assert_eq!(state.tunnel_key(&group, || [8; 32]).unwrap(), made);
    let mode =
        |path: &str| fs::metadata(dir.path().join("state").join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("identity.key"), 0o600);
    assert_eq!(mode(&format!("keys/{group}.key")), 0o600);
    assert_eq!(mode(""), 0o700);
}

#[test]
fn what_is_saved_is_there_after_a_restart() {
    let (dir, state) = state();
    let (id, scope) = scope();
    assert_eq!(state.enrolment().unwrap(), None);
    state.save_enrolment(&enrolment()).unwrap();
    state.save_scope(&id, &scope).unwrap();
    drop(state);
    let state = State::open(&dir.path().join("state")).unwrap();
    assert_eq!(state.enrolment().unwrap(), Some(enrolment()));
    let (scopes, damaged) = state.scopes();
    assert_eq!(scopes[&id].cursor(), scope.cursor());
    assert!(damaged.is_empty());
    state.remove_scope(&id).unwrap();
    state.remove_scope(&id).unwrap();
    assert!(state.scopes().0.is_empty());
}

#[test]
fn a_group_that_was_left_is_gone_from_the_enrolment() {
    let (_dir, state) = state();
    let group = GroupId::from_random([1; 16]);
    state.leave(&group).unwrap();
    let peer = PeerId::from_random([1; 16]);
    let member = MemberId::external_from_random([1; 16]);
    let hosted = HostedPeer { group: group.clone(), member, peer, host: Host(5), serial: 0 };
    state.save_enrolment(&Enrolment { peers: vec![hosted], ..enrolment() }).unwrap();
    state.leave(&group).unwrap();
    assert_eq!(state.enrolment().unwrap(), Some(enrolment()));
}

#[test]
fn a_second_agent_on_the_same_folder_is_refused() {
    let (dir, _state) = state();
    assert!(matches!(State::open(&dir.path().join("state")), Err(StateError::Locked { .. })));
}

#[test]
fn a_damaged_copy_of_a_scope_counts_as_none() {
    let (dir, state) = state();
    let (id, scope) = scope();
    state.save_scope(&id, &scope).unwrap();
    let path = dir.path().join("state/scopes").join(format!("{id}.json"));
    let good = fs::read(&path).unwrap();
    let half = good[..good.len() / 2].to_vec();
    let changed = good.replace_first(b"web-1", b"web-2");
    let rewound = good.replace_first(b"\"rev\":1", b"\"rev\":0");
    for bad in [Vec::new(), b"{".to_vec(), b"{}\n[]".to_vec(), half, changed, rewound] {
        fs::write(&path, bad).unwrap();
        let (scopes, damaged) = state.scopes();
        assert_eq!((scopes.len(), damaged.len()), (0, 1));
    }
    fs::write(&path, good).unwrap();
    assert_eq!(state.scopes().0.len(), 1);
}

#[test]
fn a_damaged_enrolment_or_key_stops_the_start_and_stays_as_it_is() {
    let (dir, state) = state();
    state.identity().unwrap();
    for (file, says) in [("enrolment.json", "join again"), ("identity.key", "join again")] {
        let path = dir.path().join("state").join(file);
        fs::write(&path, "x").unwrap();
        let error = match file {
            "identity.key" => state.identity().unwrap_err(),
            _ => state.enrolment().unwrap_err(),
        };
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
    fs::write(dir.path().join("state/enrolment.json"), r#"{"format":99}"#).unwrap();
    assert!(matches!(state.enrolment(), Err(StateError::TooNew { found: 99, .. })));
}

trait ReplaceFirst {
    fn replace_first(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceFirst for Vec<u8> {
    fn replace_first(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}
