//! What Lacis control and agents say to each other: values and messages that parse, print and compare.
//!
//! Nothing here does I/O, reads a clock or draws randomness: time, random bytes and received bytes
//! come in as values. No private key can be named in this crate.
//!
//! A message is frozen by a golden file under `proto/tests/golden/v1/`; a changed byte there is a new
//! protocol version ([`version`]).

#![forbid(unsafe_code)]

mod addr;
mod api;
mod dial;
mod exposition;
mod follow;
mod id;
mod key;
mod lifetime;
mod name;
mod problem;
mod proof;
mod record;
pub mod relay;
mod scope;
mod sign;
mod stream;
pub mod stun;
mod text;
mod token;
pub mod version;
pub mod websocket;

pub use addr::{
    FIRST_PEER_HOST, Host, MAX_POOL_PREFIX, MIN_POOL_PREFIX, OverlayAddrs, PoolError, RESOLVER_HOST,
    capacity, check_pool, overlay_addrs, overlay4, overlay6, prefix6_of,
};
pub use api::{
    Endpoint, EndpointKind, GatewayReport, JoinReply, JoinRequest, MAX_BODY_BYTES, MAX_ENDPOINTS, PeerReply,
    PeerReport, PeerRequest, ReportReply, ReportRequest, WatchRequest,
};
pub use dial::{DialAddress, DialError};
pub use exposition::{EXPOSITION_TYPE, Exposition, Family, Figure};
pub use follow::{Applied, FollowError, Follower, MAX_SCOPES, MAX_STAGED_RECORDS};
pub use id::{
    ControlId, GroupId, IdError, MemberId, NodeId, OwnerId, PeerId, RecordId, RelayId, ScopeId, TokenId,
};
pub use key::{IdentityKey, KeyError, Pin, PublicKey};
pub use lifetime::{LifetimeError, parse_lifetime};
pub use name::{
    GroupNames, LEGACY_SUFFIX, MAX_LABEL, NameError, check_suffix, in_suffix, member_name, peer_name,
    sanitize,
};
pub use problem::{Code, Problem};
pub use proof::{MAX_PROOFS, Proof, ProofsReply, ProofsRequest, Run, RunError, SignedStatement};
pub use record::{
    Assignment, Body, GroupRecord, KeyUse, MAX_RECORD_TEXT, MAX_RELAY_HOMES, MemberKind, MemberRecord,
    NodeRecord, PeerKey, PeerRecord, Record, RelayHome,
};
pub use scope::{
    Answer, ApplyError, Change, Cursor, CursorError, Digest, Epoch, Revision, Scope, ScopeError,
};
pub use sign::{
    Authorization, AuthorizationError, Grant, PeerStatement, Signature, SignatureError, Signer,
    request_bytes, verify,
};
pub use stream::{
    At, Beat, Bye, CopySeen, Del, DropReason, DropScope, Hello, Line, LineDecoder, LineError, MAX_LINE_BYTES,
    MAX_PUT_RECORDS, Put, Reset, Rollcall, Signal,
};
pub use token::{
    API_TOKEN_PREFIX, ApiToken, JOIN_TOKEN_PREFIX, JoinToken, MAX_TOKEN_TEXT, MAX_TOKEN_URLS, Secret,
    TokenError,
};
