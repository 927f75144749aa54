//! One question: from the library's request to the core's [`Question`], and the answer back; what is none of
//! ours goes upstream.

use std::{pin::Pin, sync::atomic::Ordering};

use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use lacis_agent_core::{Answer, AnswerCode, Kind, Question, Rr, RrValue, Zones};
use tokio::sync::watch;

use super::Forwarder;

/// Largest UDP answer that is sent, whatever is asked for: fits the least MTU of IPv6, so that nothing is
/// fragmented (DNS flag day 2020).
const MAX_UDP_ANSWER: u16 = 1232;

/// Answers requests out of the zones as they are at that moment.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    zones: watch::Receiver<Zones>,
    forwarder: Forwarder,
}

/// An answer in the library's terms.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    /// Set for what came from upstream.
    from: Option<Metadata>,
    answers: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
}

impl Resolver {
    pub(super) const fn new(zones: watch::Receiver<Zones>, forwarder: Forwarder) -> Self {
        Self { zones, forwarder }
    }

    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.op_code != OpCode::Query {
            return Reply::of(ResponseCode::NotImp);
        }
        if request.version() > 0 {
            return Reply::of(ResponseCode::BADVERS);
        }
        let [query] = request.queries.queries() else { return Reply::of(ResponseCode::FormErr) };
        if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
            return Reply::of(ResponseCode::Refused);
        }
        // Clients that mix upper and lower case expect their own spelling back.
        let asked = query.original().name();
        let question = Question::new(&asked.to_ascii(), kind(query.query_type()));
        let zones = self.zones.borrow().clone();
        let source = request.src().ip();
        let answer = zones.answer(&question, zones.tunnel_of(source));
        if answer.code != AnswerCode::Refused {
            self.forwarder.counts().own.fetch_add(1, Ordering::Relaxed);
            return Reply::new(&answer, &question, asked);
        }
        if !zones.is_this_host(source) {
            return Reply::of(ResponseCode::Refused);
        }
        if zones.keeps(&question.name) || self.forwarder.is_loop(&question.name) {
            return Reply::of(ResponseCode::NXDomain);
        }
        if !self.forwarder.has_upstream() {
            return Reply::of(ResponseCode::Refused);
        }
        self.forward(request, query.original().clone()).await
    }

    async fn forward(&self, request: &Request, query: Query) -> Reply {
        let mut question = Message::new(0, MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = request.metadata.recursion_desired;
        question.metadata.checking_disabled = request.metadata.checking_disabled;
        question.metadata.authentic_data = request.metadata.authentic_data;
        question.edns.clone_from(&request.edns);
        question.add_query(query);
        match self.forwarder.ask(&question, request.protocol() == Protocol::Tcp).await {
            Some(answer) => Reply {
                code: answer.metadata.response_code,
                authoritative: false,
                from: Some(answer.metadata),
                answers: answer.answers,
                authority: answer.authorities,
                additional: answer.additionals,
            },
            None => Reply::of(ResponseCode::ServFail),
        }
    }

    async fn respond<R: ResponseHandler>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let reply = self.reply(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        // This host's programs may ask for any name; what came from upstream says so itself.
        metadata.recursion_available =
            self.forwarder.has_upstream() && self.zones.borrow().is_this_host(request.src().ip());
        if let Some(from) = reply.from {
            metadata.recursion_available = from.recursion_available;
            metadata.authentic_data = from.authentic_data;
            metadata.truncation = from.truncation;
        }
        let mut edns = Edns::new();
        edns.set_version(0).set_max_payload(request.max_payload().min(MAX_UDP_ANSWER));
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(asked) = &request.edns {
            // Twelve bits: the upper eight travel in the OPT record (RFC 6891 §6.1.3).
            edns.set_rcode_high(reply.code.high());
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            builder.edns(&edns);
        }
        let response =
            builder.build(metadata, &reply.answers, &reply.authority, std::iter::empty(), &reply.additional);
        match handle.send_response(response).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::debug!(%error, "cannot send a name's answer");
                let mut failed =
                    Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
                failed.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata: failed, counts: HeaderCounts::default() })
            }
        }
    }
}

impl RequestHandler for Resolver {
    fn handle_request<'a, 'b, 'f, R, T>(
        &'a self,
        request: &'b Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'f>>
    where
        R: ResponseHandler + 'f,
        T: Time + 'f,
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.respond(request, response_handle))
    }
}

impl Reply {
    const fn of(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            from: None,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    fn new(answer: &Answer, question: &Question, asked: &Name) -> Self {
        let records = |rrs: &[Rr]| rrs.iter().filter_map(|rr| record(rr, question, asked)).collect();
        Self {
            code: match answer.code {
                AnswerCode::NoError => ResponseCode::NoError,
                AnswerCode::NxDomain => ResponseCode::NXDomain,
                AnswerCode::Refused => ResponseCode::Refused,
            },
            authoritative: answer.authoritative,
            from: None,
            answers: records(&answer.answers),
            authority: records(&answer.authority),
            additional: records(&answer.additional),
        }
    }
}

fn kind(wanted: RecordType) -> Kind {
    let known = [
        (RecordType::A, Kind::A),
        (RecordType::AAAA, Kind::Aaaa),
        (RecordType::PTR, Kind::Ptr),
        (RecordType::SOA, Kind::Soa),
        (RecordType::NS, Kind::Ns),
        (RecordType::ANY, Kind::Any),
    ];
    let known = known.into_iter().find(|(theirs, _)| *theirs == wanted);
    known.map_or(Kind::Other(wanted.into()), |(_, ours)| ours)
}

/// The library's record; `None` for a name that has no wire form, which no zone contains.
fn record(rr: &Rr, question: &Question, asked: &Name) -> Option<Record> {
    let owner = if rr.name == question.name { asked.clone() } else { name(&rr.name)? };
    let value = match &rr.value {
        RrValue::A(addr) => RData::A((*addr).into()),
        RrValue::Aaaa(addr) => RData::AAAA((*addr).into()),
        RrValue::Ptr(target) => RData::PTR(rdata::PTR(name(target)?)),
        RrValue::Ns(target) => RData::NS(rdata::NS(name(target)?)),
        RrValue::Soa { mname, rname, serial, refresh_s, retry_s, expire_s, minimum_s } => {
            let seconds = |value: &u32| i32::try_from(*value).unwrap_or(i32::MAX);
            RData::SOA(rdata::SOA::new(
                name(mname)?,
                name(rname)?,
                *serial,
                seconds(refresh_s),
                seconds(retry_s),
                seconds(expire_s),
                *minimum_s,
            ))
        }
    };
    Some(Record::from_rdata(owner, rr.ttl_s, value))
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}
