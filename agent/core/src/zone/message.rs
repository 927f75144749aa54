//! Questions and answers, in as much of DNS as the zones of a group need.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits::DNS_TTL_S;

/// The type that a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address.
    Ptr,
    /// The start of authority.
    Soa,
    /// Name servers.
    Ns,
    /// Whatever there is.
    Any,
    /// Any other type, by its number: exists for no name.
    Other(u16),
}

/// A question of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name: lower case, labels joined by dots, no dot at the end.
    pub name: String,
    /// The type.
    pub kind: Kind,
}

impl Question {
    /// A question about a name in any case, with or without a dot at the end.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), kind }
    }
}

/// How a question went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerCode {
    /// The name exists; without answers: not with this type.
    NoError,
    /// The name does not exist.
    NxDomain,
    /// The name is not in any zone here.
    Refused,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub code: AnswerCode,
    /// Whether this node is the authority for the name.
    pub authoritative: bool,
    /// The answers.
    pub answers: Vec<Rr>,
    /// The SOA, in a negative answer.
    pub authority: Vec<Rr>,
    /// Addresses of a name server that the answers name.
    pub additional: Vec<Rr>,
}

impl Answer {
    pub(super) const fn refused() -> Self {
        Self {
            code: AnswerCode::Refused,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    pub(super) fn negative(code: AnswerCode, soa: Rr) -> Self {
        Self { code, authoritative: true, answers: Vec::new(), authority: vec![soa], additional: Vec::new() }
    }

    pub(super) const fn positive(answers: Vec<Rr>, additional: Vec<Rr>) -> Self {
        Self { code: AnswerCode::NoError, authoritative: true, answers, authority: Vec::new(), additional }
    }
}

/// A resource record of class IN. Its TTL is [`DNS_TTL_S`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rr {
    /// Whose record it is, in the form of [`Question::name`].
    pub name: String,
    /// Time to live, in seconds.
    pub ttl_s: u32,
    /// What it says.
    pub value: RrValue,
}

impl Rr {
    pub(super) fn new(name: &str, value: RrValue) -> Self {
        Self { name: name.to_owned(), ttl_s: DNS_TTL_S, value }
    }
}

/// What a resource record says. Names are in the form of [`Question::name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RrValue {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name of an address.
    Ptr(String),
    /// A name server.
    Ns(String),
    /// The start of authority (RFC 1035 §3.3.13).
    Soa {
        /// The name server.
        mname: String,
        /// Whom to write to, as a name.
        rname: String,
        /// The group's revision.
        serial: u32,
        /// Refresh, retry and minimum are the TTL; nobody transfers these zones.
        refresh_s: u32,
        /// Seconds before a failed refresh is tried again.
        retry_s: u32,
        /// Seconds after which a copy would be stale.
        expire_s: u32,
        /// TTL of negative answers (RFC 2308 §4), in seconds.
        minimum_s: u32,
    },
}

/// The start of authority at an apex.
pub(super) fn soa(apex: &str, serial: u32) -> Rr {
    let value = RrValue::Soa {
        mname: format!("ns.{apex}"),
        rname: format!("hostmaster.{apex}"),
        serial,
        refresh_s: DNS_TTL_S,
        retry_s: DNS_TTL_S,
        // A week: the longest absence of control that everything is made for.
        expire_s: 7 * 24 * 3600,
        minimum_s: DNS_TTL_S,
    };
    Rr::new(apex, value)
}
