//! Arguments of `lacis ng`: the verbs of the network-groups API, with the words and flags that users of
//! the platform's own command line know.

mod access;
mod gateway;

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use lacis_proto::{MemberId, PublicKey};

pub use self::access::{
    Access, JoinTokenCommand, Lifetime, LoginArgs, NodeCommand, ProfileArgs, ProfileCommand, TokenCommand,
};
pub use self::gateway::{GatewayArgs, GatewayCommand};
use super::Format;
use crate::cli::ng::complete;

const AFTER_HELP: &str = "\
Groups, members and peers are named by id or label; a label that several have lists them.

First steps:
  lacis ng login --api https://control:8443 --ca ca.pem --api-token -   remembers control and owner
  lacis ng create shop --link app_1,postgresql_2                        a group with two members
  lacis ng join-token create shop --member app_1                        lets nodes in: `lacis up TOKEN`
  lacis ng external create phone shop --qr                              lets a plain WireGuard client in

Exit codes: 0 done, 1 failed or refused, 2 wrong usage or a label that several have, 3 not in time,
4 control cannot be reached, 5 no such thing, 6 not allowed with this API token.";

/// Arguments of `lacis ng`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct NgArgs {
    /// Which control, as whom, and how output looks.
    #[command(flatten)]
    pub target: Target,
    /// What is to be done; without it, groups are listed.
    #[command(subcommand)]
    pub command: Option<NgCommand>,
}

/// Which control, as whom, and how output looks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which control, as whom, and how output looks")]
pub struct Target {
    /// Address of control, https://HOST:PORT [default: the profile's].
    #[arg(long, global = true, env = "LACIS_API", value_name = "URL")]
    pub api: Option<String>,
    /// Certificate authority of control, in PEM [default: the profile's, else the operating system's].
    #[arg(long, global = true, env = "LACIS_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// API token; "-" reads it from standard input.
    #[arg(long, global = true, env = "LACIS_API_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub api_token: Option<String>,
    /// File that holds the API token.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Whose groups, by id or name [default: the owner of the API token].
    #[arg(
        short = 'o',
        long,
        visible_alias = "org",
        global = true,
        env = "LACIS_OWNER",
        value_name = "OWNER"
    )]
    pub owner: Option<String>,
    /// Profile to use, see `lacis ng profile` [default: the one in use].
    #[arg(long, global = true, env = "LACIS_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// How output looks.
    #[arg(short = 'F', long, global = true, value_enum, default_value = "human")]
    pub format: Format,
}

/// How long a write waits until the nodes have it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Wait until every connected node concerned has applied the change, so many seconds at most.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=50))]
    pub wait: Option<u64>,
}

/// Whether a removal is only shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct Removal {
    /// Show what would go, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// What `lacis ng` can do.
#[derive(Debug, Subcommand)]
pub enum NgCommand {
    /// What talks to control.
    #[command(flatten)]
    Manage(Box<Manage>),
    /// Remember control, API token and owner in a profile of this user.
    Login(LoginArgs),
    /// Forget the profile in use.
    Logout,
    /// List profiles, or choose and remove one.
    Profile(ProfileArgs),
}

/// What needs a control and an owner.
#[derive(Debug, Subcommand)]
pub enum Manage {
    /// List groups.
    #[command(visible_alias = "ls")]
    List,
    /// Make a group, or with `create external` an external peer.
    Create(CreateArgs),
    /// Change a group's label, description, tags or range.
    Edit(EditArgs),
    /// Delete a group with everything in it, or with `delete external` an external peer.
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
    /// Link a resource to a group: it becomes a member.
    Link(LinkArgs),
    /// Unlink a member from a group: its peers leave at once.
    Unlink(UnlinkArgs),
    /// Show a group, a member or a peer.
    Get(GetArgs),
    /// Print the WireGuard configuration of a peer.
    GetConfig(GetConfigArgs),
    /// Find groups, members and peers by a part of their id or label.
    Search(SearchArgs),
    /// List and change members.
    #[command(subcommand)]
    Member(MemberCommand),
    /// List, make, change and delete peers.
    #[command(subcommand)]
    Peer(PeerCommand),
    /// List, make and delete external peers: plain WireGuard clients.
    #[command(subcommand)]
    External(ExternalCommand),
    /// List, add and remove gateways, by which plain WireGuard clients come in; replace their key.
    Gateway(GatewayArgs),
    /// Make, list and revoke join tokens, which let nodes into a group.
    #[command(subcommand)]
    JoinToken(JoinTokenCommand),
    /// Make, list and revoke API tokens, which manage groups.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List, show and revoke nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Print what happens in a group, as it happens.
    Watch(WatchArgs),
    /// Show who changed what in a group.
    Audit(AuditArgs),
    /// Show which nodes have applied a version of a group.
    Receipt(ReceiptArgs),
    /// Show whose groups the API token manages, and the suffixes of names.
    Whoami,
}

/// A group, by id or label.
#[derive(Debug, Args)]
pub struct GroupName {
    /// Id or label of the group.
    #[arg(value_name = "GROUP", add = ArgValueCompleter::new(complete::groups))]
    pub group: String,
}

/// Arguments of `lacis ng create`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CreateArgs {
    /// Another kind of thing to make.
    #[command(subcommand)]
    pub other: Option<CreateOther>,
    /// Label of the group.
    #[arg(value_name = "LABEL", required = true)]
    pub label: Option<String>,
    /// Resources to link, by id, separated by commas.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub link: Vec<MemberId>,
    /// What the group is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Tags, separated by commas.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub tags: Option<Vec<String>>,
    /// IPv4 range of the group [default: a free /16].
    #[arg(long, value_name = "CIDR")]
    pub range: Option<String>,
    /// Id of the group; making it again changes nothing [default: a new one].
    #[arg(long, value_name = "ID")]
    pub id: Option<lacis_proto::GroupId>,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// What else `lacis ng create` makes.
#[derive(Debug, Subcommand)]
pub enum CreateOther {
    /// Make an external peer with a key of its own.
    External {
        /// Label of the external peer.
        label: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// Its WireGuard public key.
        public_key: PublicKey,
    },
}

/// Arguments of `lacis ng edit`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["label", "description", "tags", "range"])))]
pub struct EditArgs {
    /// Which group.
    #[command(flatten)]
    pub group: GroupName,
    /// New label.
    #[arg(long)]
    pub label: Option<String>,
    /// New description.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// New tags, separated by commas, in place of all that there are.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub tags: Option<Vec<String>>,
    /// A longer IPv4 range with the same first address.
    #[arg(long, value_name = "CIDR")]
    pub range: Option<String>,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `lacis ng delete`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DeleteArgs {
    /// Another kind of thing to delete.
    #[command(subcommand)]
    pub other: Option<DeleteOther>,
    /// Id or label of the group.
    #[arg(value_name = "GROUP", required = true, add = ArgValueCompleter::new(complete::groups))]
    pub group: Option<String>,
    /// Whether it is only shown.
    #[command(flatten)]
    pub removal: Removal,
}

/// What else `lacis ng delete` deletes.
#[derive(Debug, Subcommand)]
pub enum DeleteOther {
    /// Delete an external peer, and its member with it.
    External(DeletePeerArgs),
}

/// A peer that goes.
#[derive(Debug, Args)]
pub struct DeletePeerArgs {
    /// Id or label of the peer.
    #[arg(add = ArgValueCompleter::new(complete::peers))]
    pub peer: String,
    /// Where.
    #[command(flatten)]
    pub group: GroupName,
    /// Whether it is only shown.
    #[command(flatten)]
    pub removal: Removal,
}

/// Arguments of `lacis ng link`.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// Id of the resource: app_…, postgresql_…, external_… and the like.
    #[arg(value_name = "ID")]
    pub member: MemberId,
    /// Where.
    #[command(flatten)]
    pub group: GroupName,
    /// What people call the member [default: its id].
    #[arg(long)]
    pub label: Option<String>,
    /// Name of the member in the group's zone [default: made from its id].
    #[arg(long, value_name = "NAME")]
    pub domain_name: Option<String>,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `lacis ng unlink`.
#[derive(Debug, Args)]
pub struct UnlinkArgs {
    /// Id or label of the member.
    #[arg(add = ArgValueCompleter::new(complete::members))]
    pub member: String,
    /// Where.
    #[command(flatten)]
    pub group: GroupName,
    /// Even if one of its peers is the last gateway, and plain clients come in by it.
    #[arg(long)]
    pub force: bool,
    /// Whether it is only shown.
    #[command(flatten)]
    pub removal: Removal,
}

/// A kind of thing that can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Kind {
    /// A group.
    NetworkGroup,
    /// A member.
    Member,
    /// A peer with an agent.
    CleverPeer,
    /// A plain WireGuard client.
    ExternalPeer,
}

/// Arguments of `lacis ng get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id or label.
    #[arg(value_name = "ID|LABEL", add = ArgValueCompleter::new(complete::anything))]
    pub name: String,
    /// Only things of this kind.
    #[arg(long, value_enum, ignore_case = true, value_name = "KIND")]
    pub r#type: Option<Kind>,
}

/// Arguments of `lacis ng search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// A part of an id or a label.
    pub query: String,
    /// Only things of this kind.
    #[arg(long, value_enum, ignore_case = true, value_name = "KIND")]
    pub r#type: Option<Kind>,
}

/// Where a WireGuard configuration goes.
#[derive(Debug, Args)]
pub struct Output {
    /// Write the text to this file, readable by this user alone, instead of printing it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Show it as a QR code in the terminal, for the WireGuard app of a phone.
    #[arg(long)]
    pub qr: bool,
    /// Write the QR code to this PNG file, readable by this user alone.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub png: Option<PathBuf>,
    /// Write the QR code to this SVG file, readable by this user alone.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
}

/// Arguments of `lacis ng get-config`.
#[derive(Debug, Args)]
pub struct GetConfigArgs {
    /// Id or label of the peer.
    #[arg(add = ArgValueCompleter::new(complete::peers))]
    pub peer: String,
    /// Where.
    #[command(flatten)]
    pub group: GroupName,
    /// File with the peer's private key, to be put into the text; it is not sent.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub private_key_file: Option<PathBuf>,
    /// Print a URL instead that gives the text without login for an hour.
    #[arg(long, conflicts_with_all = ["output", "qr", "png", "svg", "private_key_file"])]
    pub url: bool,
    /// Where it goes.
    #[command(flatten)]
    pub output: Output,
}

/// Verbs of members.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members of a group.
    List(GroupName),
    /// Change a member's label or name.
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["label", "domain_name"])))]
    Edit {
        /// Id or label of the member.
        #[arg(add = ArgValueCompleter::new(complete::members))]
        member: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// New label.
        #[arg(long)]
        label: Option<String>,
        /// New name in the group's zone.
        #[arg(long, value_name = "NAME")]
        domain_name: Option<String>,
        /// How long to wait.
        #[command(flatten)]
        wait: Wait,
    },
}

/// Verbs of peers.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// List the peers of a group, and who is connected.
    List(GroupName),
    /// Register a peer of a member that is no external one.
    Create {
        /// Id or label of the member that it is an instance of.
        #[arg(add = ArgValueCompleter::new(complete::members))]
        member: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// Its WireGuard public key.
        #[arg(long, value_name = "KEY")]
        public_key: PublicKey,
        /// What people call it [default: its id].
        #[arg(long)]
        label: Option<String>,
        /// Address and port at which it can be dialled.
        #[arg(long, value_name = "IP:PORT")]
        server: Option<SocketAddr>,
        /// How long to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Change a peer's label, key and address of an external peer, or whether one with an agent is a gateway.
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["label", "public_key", "server", "gateway", "gateway_endpoint"])))]
    Edit {
        /// Id or label of the peer.
        #[arg(add = ArgValueCompleter::new(complete::peers))]
        peer: String,
        /// Where.
        #[command(flatten)]
        group: GroupName,
        /// New label.
        #[arg(long)]
        label: Option<String>,
        /// New WireGuard public key.
        #[arg(long, value_name = "KEY")]
        public_key: Option<PublicKey>,
        /// New address and port at which it can be dialled.
        #[arg(long, value_name = "IP:PORT")]
        server: Option<SocketAddr>,
        /// Whether it is a gateway for plain WireGuard clients, whatever its agent offers. A gateway sees in clear what
        /// it passes on.
        #[arg(long, value_name = "true|false", conflicts_with_all = ["label", "public_key", "server"])]
        gateway: Option<bool>,
        /// Where clients dial the gateway: an address that moves from gateway to gateway, or a name. Empty takes it back.
        #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["label", "public_key", "server"])]
        gateway_endpoint: Option<String>,
        /// With --gateway false: even if it is the last gateway, and plain clients come in by it.
        #[arg(long, requires = "gateway")]
        force: bool,
        /// How long to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a peer; a node that still runs it asks for it again.
    #[command(visible_alias = "rm")]
    Delete {
        /// Which, and how.
        #[command(flatten)]
        args: DeletePeerArgs,
        /// Even if it is the last gateway, and plain clients come in by it.
        #[arg(long)]
        force: bool,
    },
}

/// Verbs of external peers.
#[derive(Debug, Subcommand)]
pub enum ExternalCommand {
    /// List the external peers of a group.
    List(GroupName),
    /// Make an external peer and print its WireGuard configuration.
    Create(CreateExternalArgs),
    /// Delete an external peer, and its member with it.
    #[command(visible_alias = "rm")]
    Delete(DeletePeerArgs),
}

/// Arguments of `lacis ng external create`.
#[derive(Debug, Args)]
pub struct CreateExternalArgs {
    /// What people call it.
    pub label: String,
    /// Where.
    #[command(flatten)]
    pub group: GroupName,
    /// Its WireGuard public key, where its owner has made one.
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<PublicKey>,
    /// Make its key here and put it into the configuration; it is not sent. The default without --public-key.
    #[arg(long, conflicts_with = "public_key", action = ArgAction::SetTrue)]
    pub generate: bool,
    /// It can be dialled at this address and port.
    #[arg(long, value_name = "IP:PORT")]
    pub server: Option<SocketAddr>,
    /// Member that it is an instance of, by id or label [default: an external member of its own].
    #[arg(long, value_name = "MEMBER", add = ArgValueCompleter::new(complete::members))]
    pub member: Option<String>,
    /// Where its configuration goes.
    #[command(flatten)]
    pub output: Output,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Arguments of `lacis ng watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Which group.
    #[command(flatten)]
    pub group: GroupName,
    /// Begin after this place, as it was printed with a version, instead of with everything there is.
    #[arg(long, value_name = "PLACE")]
    pub since: Option<String>,
    /// End after so many versions.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Arguments of `lacis ng audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Which group.
    #[command(flatten)]
    pub group: GroupName,
    /// At most so many entries, the newest.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: u32,
    /// Pass over so many of the newest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub offset: u32,
}

/// Arguments of `lacis ng receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    /// Which group.
    #[command(flatten)]
    pub group: GroupName,
    /// Which version [default: the group's present one].
    #[arg(long)]
    pub version: Option<u64>,
    /// How long to wait.
    #[command(flatten)]
    pub wait: Wait,
}

#[cfg(test)]
mod tests;
