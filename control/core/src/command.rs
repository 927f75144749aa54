//! What can be asked of an installation, what is answered, and the one entry that decides.

use lacis_proto::{
    GroupId, IdentityKey, MemberId, NodeId, OwnerId, PeerId, PeerReply, PeerReport, PeerRequest, Problem,
    PublicKey, Revision, Secret, TokenId,
};

use crate::{
    Batch, Decision, State, access, api_token,
    decision::Effects,
    departure, gateway, group, join, member, node, owner, peer, registered, report, retention,
    row::{Actor, ApiTokenRow, JoinTokenRow, OwnerRow},
};

/// One thing that is asked of an installation.
#[derive(Clone, Debug)]
pub enum Command {
    /// First start: an owner, a group, a join token and an API token.
    Install(Install),
    /// A new owner, or another label for one.
    PutOwner {
        /// Its id, where it has one already.
        id: Option<OwnerId>,
        /// What people call it.
        label: String,
    },
    /// A new group, or one that is said anew.
    CreateGroup(group::NewGroup),
    /// A group is changed.
    EditGroup {
        /// Which.
        group: GroupId,
        /// How.
        edit: group::GroupEdit,
    },
    /// A group is deleted with all that is in it.
    DeleteGroup {
        /// Which.
        group: GroupId,
    },
    /// A member is linked to a group, or said anew.
    LinkMember {
        /// To which group.
        group: GroupId,
        /// What.
        member: member::NewMember,
    },
    /// A member is changed.
    EditMember {
        /// Of which group.
        group: GroupId,
        /// Which.
        member: MemberId,
        /// What people call it from now on.
        label: Option<String>,
        /// Its name in the zone from now on.
        domain: Option<String>,
    },
    /// A member is unlinked from a group.
    UnlinkMember {
        /// From which group.
        group: GroupId,
        /// Which.
        member: MemberId,
        /// Even if its peer is the last gateway and plain clients come in by it.
        force: bool,
    },
    /// A new join token.
    CreateJoinToken {
        /// The group that it lets into.
        group: GroupId,
        /// The member that it lets run; linked if it is not yet.
        member: Option<MemberId>,
        /// How many identities may use it; 0 for any number.
        max_uses: u32,
        /// How long it may be used, in milliseconds.
        lifetime_ms: Option<u64>,
    },
    /// Ends a join token.
    RevokeJoinToken {
        /// Which.
        token: TokenId,
    },
    /// A new API token.
    CreateApiToken(api_token::NewApiToken),
    /// Ends an API token.
    RevokeApiToken {
        /// The owner that asks, if one does: it may end its own only.
        owner: Option<OwnerId>,
        /// Which.
        token: TokenId,
    },
    /// API tokens were used.
    NoteApiTokenUses {
        /// Which, and when last, in Unix milliseconds.
        uses: Vec<(TokenId, u64)>,
    },
    /// A node asks to be let in.
    Join {
        /// With this token,
        token: TokenId,
        /// proved by this secret,
        secret: Secret,
        /// as this identity,
        identity: IdentityKey,
        /// under this host name,
        host_name: String,
        /// with this version of the agent.
        agent: String,
    },
    /// A node adds its peer to a group, or says it anew.
    AddPeer {
        /// Who asks.
        node: NodeId,
        /// For what.
        request: PeerRequest,
    },
    /// A client registers a peer without an agent, or says it anew.
    RegisterPeer(registered::NewPeer),
    /// A registered peer is changed.
    EditPeer {
        /// Of which group.
        group: GroupId,
        /// Which.
        peer: PeerId,
        /// How.
        edit: registered::PeerEdit,
    },
    /// A peer is chosen as a gateway, or no longer, or where it is dialled is said.
    EditGateway {
        /// Of which group.
        group: GroupId,
        /// Which.
        peer: PeerId,
        /// How.
        edit: gateway::GatewayEdit,
    },
    /// The gateway key of a group counts no more: its gateways make another one.
    RotateGatewayKey {
        /// Of which group.
        group: GroupId,
        /// Which key; another one stays.
        key: PublicKey,
    },
    /// A peer is gone.
    RemovePeer {
        /// Which.
        peer: PeerId,
        /// Who asks.
        by: Remover,
    },
    /// A node may no longer speak to control, for good; its peers are gone.
    RevokeNode {
        /// Which.
        node: NodeId,
        /// The owner that asks, if one does.
        owner: Option<OwnerId>,
    },
    /// What ended long ago is forgotten, as much of it as one commit takes.
    Forget(retention::Kept),
    /// A node tells where its peers can be reached.
    Report {
        /// Who tells.
        node: NodeId,
        /// What.
        peers: Vec<PeerReport>,
    },
}

/// Who takes a peer away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remover {
    /// The node that runs it; others' peers it may not take.
    Node(NodeId),
    /// An owner.
    Owner {
        /// Even if it is the last gateway and plain clients come in by it.
        force: bool,
    },
}

/// What the first start makes.
#[derive(Clone, Debug)]
pub struct Install {
    /// Label of the first owner.
    pub owner_label: String,
    /// Label of the first group.
    pub group_label: String,
    /// Zone suffixes of the first group.
    pub suffixes: Vec<String>,
}

/// What a command is decided with, besides the state.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time in Unix milliseconds.
    pub now_ms: u64,
    /// Who asks.
    pub by: Actor,
    /// Random bytes.
    pub random: Random,
    /// The lowest revision of the command's group that a connected agent has applied; `None` where no
    /// agent of the group is connected.
    pub applied: Option<Revision>,
}

/// Random bytes for one command.
#[derive(Clone)]
pub struct Random {
    bytes: [u8; Self::BYTES],
    used: usize,
}

/// What a command is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The installation is made.
    Installed {
        /// The first owner.
        owner: OwnerId,
        /// The first group.
        group: GroupId,
        /// The first join token.
        join: (TokenId, Secret),
        /// The first API token.
        api: (TokenId, Secret),
    },
    /// The owner is there.
    Owner(OwnerRow),
    /// The group is made, or was.
    Group(GroupId),
    /// The join token is made; its secret is told this once.
    JoinToken(JoinTokenRow, Secret),
    /// The API token is made; its secret is told this once.
    ApiToken(ApiTokenRow, Secret),
    /// The node is let in.
    Joined {
        /// Its id.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// The member that it may run.
        member: MemberId,
        /// When it was first let in, in Unix milliseconds.
        issued_ms: u64,
    },
    /// The peer is there.
    Peer(PeerReply),
    /// Done, or nothing was to do; the group's revision includes it.
    At(Revision),
    /// Done, or nothing was to do.
    Done,
    /// Some of what ended is forgotten.
    Forgot {
        /// Whether there is more of it.
        more: bool,
    },
}

/// Decides a command. Nothing changes until the rows of the decision are applied.
///
/// # Errors
/// Why the command is refused.
pub fn decide(state: &State, batch: &Batch, command: &Command, facts: Facts) -> Result<Decision, Problem> {
    let now_ms = facts.now_ms;
    let mut decision = rule(Effects::new(state, batch, facts), command)?;
    let departed = departure::departed(state, &decision.rows, now_ms);
    decision.rows.extend(departed);
    Ok(decision)
}

/// The rule that a command asks for.
fn rule(fx: Effects<'_>, command: &Command) -> Result<Decision, Problem> {
    match command {
        Command::Install(install) => group::install(fx, install),
        Command::PutOwner { id, label } => owner::put(fx, id.as_ref(), label),
        Command::CreateGroup(new) => group::create(fx, new),
        Command::EditGroup { group, edit } => group::edit(fx, group, edit),
        Command::DeleteGroup { group } => group::delete(fx, group),
        Command::LinkMember { group, member } => member::link(fx, group, member),
        Command::EditMember { group, member, label, domain } => {
            member::edit(fx, group, member, label.as_ref(), domain.as_ref())
        }
        Command::UnlinkMember { group, member, force } => member::unlink(fx, group, member, *force),
        Command::CreateJoinToken { group, member, max_uses, lifetime_ms } => {
            access::create_join_token(fx, group, member.as_ref(), *max_uses, *lifetime_ms)
        }
        Command::RevokeJoinToken { token } => access::revoke_join_token(fx, token),
        Command::CreateApiToken(asked) => api_token::create(fx, asked),
        Command::RevokeApiToken { owner, token } => api_token::revoke(fx, owner.as_ref(), token),
        Command::NoteApiTokenUses { uses } => Ok(api_token::note_uses(fx, uses)),
        Command::Join { token, secret, identity, host_name, agent } => {
            join::join(fx, &join::Asked { token, secret, identity, host_name, agent })
        }
        Command::AddPeer { node, request } => peer::add(fx, node, request),
        Command::RegisterPeer(new) => registered::register(fx, new),
        Command::EditPeer { group, peer, edit } => registered::edit(fx, group, peer, edit),
        Command::EditGateway { group, peer, edit } => gateway::edit(fx, group, peer, edit),
        Command::RotateGatewayKey { group, key } => gateway::rotate(fx, group, key),
        Command::RemovePeer { peer, by } => peer::remove(fx, peer, by),
        Command::RevokeNode { node, owner } => node::revoke(fx, node, owner.as_ref()),
        Command::Forget(kept) => Ok(retention::forget(fx, kept)),
        Command::Report { node, peers } => report::report(fx, node, peers),
    }
}

impl Command {
    /// Who asks for it, as far as the command itself tells.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::AddPeer { node, .. }
            | Self::Report { node, .. }
            | Self::RemovePeer { by: Remover::Node(node), .. } => Actor::Node(node.clone()),
            Self::Join { token, .. } => Actor::JoinToken(token.clone()),
            Self::Install(_)
            | Self::PutOwner { .. }
            | Self::CreateGroup(_)
            | Self::EditGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::LinkMember { .. }
            | Self::EditMember { .. }
            | Self::UnlinkMember { .. }
            | Self::RegisterPeer(_)
            | Self::EditPeer { .. }
            | Self::EditGateway { .. }
            | Self::RotateGatewayKey { .. }
            | Self::CreateJoinToken { .. }
            | Self::RevokeJoinToken { .. }
            | Self::CreateApiToken(_)
            | Self::RevokeApiToken { .. }
            | Self::NoteApiTokenUses { .. }
            | Self::RemovePeer { by: Remover::Owner { .. }, .. }
            | Self::Forget(_)
            | Self::RevokeNode { .. } => Actor::Control,
        }
    }

    /// The group whose applied revision [`Facts::applied`] means, if the command may give an address.
    #[must_use]
    pub const fn allocates_in(&self) -> Option<&GroupId> {
        match self {
            Self::AddPeer { request, .. } => Some(&request.group),
            Self::RegisterPeer(new) => Some(&new.group),
            Self::Install(_)
            | Self::PutOwner { .. }
            | Self::CreateGroup(_)
            | Self::EditGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::LinkMember { .. }
            | Self::EditMember { .. }
            | Self::UnlinkMember { .. }
            | Self::EditPeer { .. }
            | Self::EditGateway { .. }
            | Self::RotateGatewayKey { .. }
            | Self::CreateJoinToken { .. }
            | Self::RevokeJoinToken { .. }
            | Self::CreateApiToken(_)
            | Self::RevokeApiToken { .. }
            | Self::NoteApiTokenUses { .. }
            | Self::Join { .. }
            | Self::RemovePeer { .. }
            | Self::RevokeNode { .. }
            | Self::Forget(_)
            | Self::Report { .. } => None,
        }
    }
}

impl Random {
    /// As many bytes as the hungriest command, an installation, draws: two ids, two tokens.
    pub const BYTES: usize = 2 * 16 + 2 * (8 + 32);

    /// Takes bytes that nobody can foresee.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self { bytes, used: 0 }
    }

    /// The next bytes.
    pub(crate) fn draw<const N: usize>(&mut self) -> [u8; N] {
        let rest = &self.bytes[self.used..];
        let taken = *rest.first_chunk().expect("no command draws more than BYTES");
        self.used += N;
        taken
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(…)")
    }
}
