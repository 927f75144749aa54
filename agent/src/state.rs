//! What an agent keeps on disk, so that it starts before it has spoken to control.
//!
//! ```text
//! DIR/lock              held while an agent runs on this folder
//! DIR/identity.key      Ed25519 seed of the node, made here, never leaves
//! DIR/enrolment.json    control's addresses and pins, the node id, grants, hosted peers, UDP port
//! DIR/keys/<ng>.key     WireGuard private key of this node's peer in a group, made here, never leaves
//! DIR/keys/<ng>.gateway.key  private key that the gateways of a group share, where this node is or was one
//! DIR/scopes/<id>.json  copies of scopes, with the cursor that proves them complete
//! DIR/sessions.json     peers with recent sessions, to call on after a restart
//! DIR/paths.json        direct paths to peers that worked, tried first after a restart
//! DIR/relays.json       relays, and this node's tokens for them
//! DIR/pins.json         proofs of peers: who they were when they were first met
//! DIR/gone.json         groups that control took this node out of, and why
//! ```
//! The folder is 0700, every file 0600. A file is replaced as a whole: written beside, flushed, renamed.
//! A damaged copy of a scope counts as none; a damaged key or enrolment stops the start and is never
//! overwritten, because it cannot be had again.

mod files;
mod scopes;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use lacis_agent_core::LastGood;
use lacis_proto::{
    Grant, GroupId, Host, IdentityKey, MemberId, NodeId, PeerId, Pin, Proof, PublicKey, Scope, ScopeId,
    Signature, TokenId, relay,
};
use serde::{Deserialize, Serialize};

use self::files::{read_if_there, write_whole};
pub(crate) use self::scopes::check as check_scope_copy;
use crate::{clock::random, status::GoneGroup};

/// The format of the files; a newer one is refused rather than guessed at.
const FORMAT: u32 = 1;

/// Agent state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot make the state folder {path:?}; choose another with --state DIR, or run as root")]
    Folder { path: PathBuf, source: io::Error },
    #[error("another agent runs on the state folder {path:?}; stop it, or choose another with --state DIR")]
    Locked { path: PathBuf },
    #[error("cannot read agent state {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write agent state {path:?}; is the disk full or read-only?")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "agent state {path:?} is damaged ({what}); restore it from a copy, or remove {folder:?} and join again"
    )]
    Damaged { path: PathBuf, folder: PathBuf, what: &'static str },
    #[error("agent state {path:?} has format {found}, newer than this agent; upgrade the agent")]
    TooNew { path: PathBuf, found: u32 },
}

/// A peer that this node hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostedPeer {
    pub(crate) group: GroupId,
    pub(crate) member: MemberId,
    pub(crate) peer: PeerId,
    pub(crate) host: Host,
    /// The number of the node's statement on its key.
    #[serde(default)]
    pub(crate) serial: u64,
}

/// A grant with control's signature, to be shown again after a restore of control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedGrant {
    /// The token that it was had with; a token is never needed twice.
    pub(crate) token: TokenId,
    pub(crate) grant: Grant,
    pub(crate) signature: Signature,
}

/// Where this node belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    pub(crate) format: u32,
    pub(crate) node: NodeId,
    pub(crate) control_key: IdentityKey,
    pub(crate) urls: Vec<String>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) grants: Vec<SignedGrant>,
    #[serde(default)]
    pub(crate) peers: Vec<HostedPeer>,
    /// UDP port of the tunnels, kept so that cached endpoints at other nodes stay true.
    #[serde(default)]
    pub(crate) port: Option<u16>,
}

/// A peer with a recent session, and where it was reached straight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecentSession {
    pub(crate) group: GroupId,
    pub(crate) key: PublicKey,
    #[serde(default)]
    pub(crate) endpoint: Option<SocketAddr>,
}

/// A direct path that worked. When it did is wall time: a run knows nothing of the clock of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WorkedPath {
    group: GroupId,
    key: PublicKey,
    remote: SocketAddr,
    at_ms: u64,
}

impl WorkedPath {
    fn of(path: &LastGood, unix_ms: u64) -> Self {
        let age_ms = u64::try_from(path.age.as_millis()).unwrap_or(u64::MAX);
        let LastGood { group, key, remote, age: _ } = path.clone();
        Self { group, key, remote, at_ms: unix_ms.saturating_sub(age_ms) }
    }

    fn remembered(self, unix_ms: u64) -> LastGood {
        let Self { group, key, remote, at_ms } = self;
        LastGood { group, key, remote, age: Duration::from_millis(unix_ms.saturating_sub(at_ms)) }
    }
}

/// The state folder of a running agent. Nobody else writes there while this lives.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    /// Why nothing can be written, where that is known from the start.
    trouble: Option<StateError>,
    _lock: File,
}

impl State {
    /// Opens the folder, making it where it is missing, and locks it. A folder that can only be read is enough
    /// for a node that has joined before.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        let folder = |source| StateError::Folder { path: dir.to_owned(), source };
        for path in [dir.to_owned(), dir.join("keys"), dir.join("scopes")] {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(folder)?;
        }
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let (lock, trouble) = match opened {
            Err(source) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                let lock = File::open(&path).map_err(folder)?;
                (lock, Some(StateError::Write { path, source }))
            }
            other => (other.map_err(folder)?, None),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), trouble, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(folder(source)),
        }
    }

    /// Why nothing can be written, where that was found out at the start.
    pub(crate) const fn trouble(&self) -> Option<&StateError> {
        self.trouble.as_ref()
    }

    /// The node's identity, made at the first call.
    pub(crate) fn identity(&self) -> Result<SigningKey, StateError> {
        Ok(SigningKey::from_bytes(&self.secret(self.dir.join("identity.key"), random)?))
    }

    /// The WireGuard private key of this node's peer in a group, made at the first call.
    pub(crate) fn tunnel_key(&self, group: &GroupId, make: fn() -> [u8; 32]) -> Result<[u8; 32], StateError> {
        self.secret(self.dir.join("keys").join(format!("{group}.key")), make)
    }

    /// Puts another key in the place of a group's.
    pub(crate) fn replace_tunnel_key(&self, group: &GroupId, secret: &[u8; 32]) -> Result<(), StateError> {
        let path = self.dir.join("keys").join(format!("{group}.key"));
        write_whole(&path, format!("{}\n", STANDARD.encode(secret)).as_bytes())
    }

    /// The gateway key of a group, where this node holds one.
    pub(crate) fn gateway_key(&self, group: &GroupId) -> Result<Option<[u8; 32]>, StateError> {
        self.kept_secret(&self.gateway_path(group))
    }

    /// Replaces the gateway key of a group.
    pub(crate) fn save_gateway_key(&self, group: &GroupId, secret: &[u8; 32]) -> Result<(), StateError> {
        write_whole(&self.gateway_path(group), format!("{}\n", STANDARD.encode(secret)).as_bytes())
    }

    /// Removes the keys of a group that this node has left.
    pub(crate) fn remove_tunnel_key(&self, group: &GroupId) -> Result<(), StateError> {
        remove(self.gateway_path(group))?;
        remove(self.dir.join("keys").join(format!("{group}.key")))
    }

    /// Where this node belongs, or `None` before its first join.
    pub(crate) fn enrolment(&self) -> Result<Option<Enrolment>, StateError> {
        let path = self.dir.join("enrolment.json");
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let damaged = |what| StateError::Damaged { path: path.clone(), folder: self.dir.clone(), what };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| damaged("no JSON"))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => {
                Err(StateError::TooNew { path, found: u32::try_from(found).unwrap_or(u32::MAX) })
            }
            _ => serde_json::from_value(value).map(Some).map_err(|_| damaged("a field is missing or wrong")),
        }
    }

    /// Replaces what is known of where this node belongs.
    pub(crate) fn save_enrolment(&self, enrolment: &Enrolment) -> Result<(), StateError> {
        write_json(&self.dir.join("enrolment.json"), enrolment)
    }

    /// Replaces the addresses of control.
    pub(crate) fn save_urls(&self, urls: Vec<String>) -> Result<(), StateError> {
        let Some(enrolment) = self.enrolment()? else { return Ok(()) };
        self.save_enrolment(&Enrolment { urls, ..enrolment })
    }

    /// Forgets that this node belongs to a group, so that a token brings it back. Its key there stays.
    pub(crate) fn leave(&self, group: &GroupId) -> Result<(), StateError> {
        let Some(mut enrolment) = self.enrolment()? else { return Ok(()) };
        enrolment.forget(group);
        self.save_enrolment(&enrolment)
    }

    /// Copies of scopes that are complete; the others are named with what is wrong with them.
    pub(crate) fn scopes(&self) -> (BTreeMap<ScopeId, Scope>, Vec<(PathBuf, String)>) {
        scopes::load_all(&self.dir.join("scopes"))
    }

    /// Replaces the copy of a scope.
    pub(crate) fn save_scope(&self, id: &ScopeId, scope: &Scope) -> Result<(), StateError> {
        write_whole(&self.scope_path(id), &scopes::encode(scope))
    }

    /// Removes the copy of a scope.
    pub(crate) fn remove_scope(&self, id: &ScopeId) -> Result<(), StateError> {
        remove(self.scope_path(id))
    }

    /// Removes the folder with everything in it: this node has no identity any more. A folder that somebody
    /// else has made for us, as the service manager does, stays there, empty.
    pub(crate) fn purge(&self) -> Result<(), StateError> {
        let failed = |source| StateError::Write { path: self.dir.clone(), source };
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(failed)?;
        }
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    /// Peers with recent sessions; none where the file is missing or damaged.
    pub(crate) fn recent_sessions(&self) -> Vec<RecentSession> {
        let bytes = read_if_there(&self.dir.join("sessions.json")).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces the peers with recent sessions.
    pub(crate) fn save_recent_sessions(&self, sessions: &[RecentSession]) -> Result<(), StateError> {
        write_json(&self.dir.join("sessions.json"), &sessions)
    }

    /// Relays, and this node's tokens for them; none where the file is missing or damaged: control tells them again.
    pub(crate) fn relays(&self) -> relay::Relays {
        let bytes = read_if_there(&self.dir.join("relays.json")).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces the relays.
    pub(crate) fn save_relays(&self, relays: &relay::Relays) -> Result<(), StateError> {
        write_json(&self.dir.join("relays.json"), relays)
    }

    /// Direct paths that worked, as of `unix_ms`; none where the file is missing or damaged.
    pub(crate) fn last_good(&self, unix_ms: u64) -> Vec<LastGood> {
        let bytes = read_if_there(&self.dir.join("paths.json")).ok().flatten();
        let paths: Vec<WorkedPath> =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        paths.into_iter().map(|path| path.remembered(unix_ms)).collect()
    }

    /// Replaces the direct paths that worked.
    pub(crate) fn save_last_good(&self, paths: &[LastGood], unix_ms: u64) -> Result<(), StateError> {
        let paths: Vec<WorkedPath> = paths.iter().map(|path| WorkedPath::of(path, unix_ms)).collect();
        write_json(&self.dir.join("paths.json"), &paths)
    }

    /// What is remembered of peers. A proof that does not verify, and a damaged file, count as none.
    pub(crate) fn pins(&self) -> BTreeMap<PeerId, Proof> {
        let path = self.dir.join("pins.json");
        let Some(bytes) = read_if_there(&path).ok().flatten() else { return BTreeMap::new() };
        let Ok(proofs) = serde_json::from_slice::<Vec<Proof>>(&bytes) else {
            tracing::warn!(
                ?path,
                "the file is damaged; peers are taken for who they are when they are met next"
            );
            return BTreeMap::new();
        };
        let signed = proofs.into_iter().filter(|proof| proof.said.check(&proof.identity).is_ok());
        signed.map(|proof| (proof.said.statement.peer.clone(), proof)).collect()
    }

    /// Replaces what is remembered of peers.
    pub(crate) fn save_pins(&self, pins: &BTreeMap<PeerId, Proof>) -> Result<(), StateError> {
        write_json(&self.dir.join("pins.json"), &pins.values().collect::<Vec<_>>())
    }

    /// Groups that control took this node out of; none where the file is missing or damaged.
    pub(crate) fn gone(&self) -> Vec<GoneGroup> {
        let bytes = read_if_there(&self.dir.join("gone.json")).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces the groups that control took this node out of.
    pub(crate) fn save_gone(&self, gone: &[GoneGroup]) -> Result<(), StateError> {
        write_json(&self.dir.join("gone.json"), &gone)
    }

    fn scope_path(&self, id: &ScopeId) -> PathBuf {
        self.dir.join("scopes").join(format!("{id}.json"))
    }

    fn gateway_path(&self, group: &GroupId) -> PathBuf {
        self.dir.join("keys").join(format!("{group}.gateway.key"))
    }

    fn kept_secret(&self, path: &Path) -> Result<Option<[u8; 32]>, StateError> {
        let Some(text) = read_if_there(path)? else { return Ok(None) };
        let bytes = STANDARD.decode(text.trim_ascii()).ok().and_then(|bytes| bytes.try_into().ok());
        let (path, folder, what) = (path.to_owned(), self.dir.clone(), "not 32 bytes in base64");
        bytes.map(Some).ok_or(StateError::Damaged { path, folder, what })
    }

    fn secret(&self, path: PathBuf, make: fn() -> [u8; 32]) -> Result<[u8; 32], StateError> {
        if let Some(secret) = self.kept_secret(&path)? {
            return Ok(secret);
        }
        let secret = make();
        write_whole(&path, format!("{}\n", STANDARD.encode(secret)).as_bytes())?;
        Ok(secret)
    }
}

impl Enrolment {
    /// Takes a group out: its grant and its peer.
    pub(crate) fn forget(&mut self, group: &GroupId) {
        self.grants.retain(|signed| signed.grant.group != *group);
        self.peers.retain(|peer| peer.group != *group);
    }

    /// The enrolment that a first join begins with.
    pub(crate) fn new(node: NodeId, control_key: IdentityKey, urls: Vec<String>, pins: Vec<Pin>) -> Self {
        Self {
            format: FORMAT,
            node,
            control_key,
            urls,
            pins,
            grants: Vec::new(),
            peers: Vec::new(),
            port: None,
        }
    }
}

fn remove(path: PathBuf) -> Result<(), StateError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Write { path, source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("agent state has a JSON form");
    bytes.push(b'\n');
    write_whole(path, &bytes)
}

#[cfg(test)]
mod tests;
