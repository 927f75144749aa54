//! Refusals of the management API, as they are documented and written.

use lacis_proto::{Code, Problem};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// Why a request was refused: the members that clients of the network-groups API read, and those of RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemView<'a> {
    /// One sentence for a person: what was wrong and what to do.
    message: &'a str,
    /// The reason phrase of the status.
    error: &'a str,
    /// A stable word for a program.
    #[schema(value_type = String)]
    code: Code,
    /// The field of the request that was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// HTTP status code.
    status: u16,
    /// Always `about:blank`: the code says more (RFC 9457 §4.2.1).
    r#type: &'static str,
    /// The same as `error`.
    title: &'a str,
    /// The same as `message`.
    detail: &'a str,
    /// The time of control in Unix milliseconds, where a signature was too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    now_ms: Option<u64>,
    /// Seconds after which to come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u16>,
    /// Names this answer in the logs of control.
    request_id: Option<&'a str>,
}

impl<'a> ProblemView<'a> {
    pub(crate) fn new(problem: &'a Problem) -> Self {
        Self {
            message: &problem.message,
            error: &problem.error,
            code: problem.code,
            field: problem.field.as_deref(),
            status: problem.status,
            r#type: "about:blank",
            title: &problem.error,
            detail: &problem.message,
            now_ms: problem.now_ms,
            retry_after_s: problem.retry_after_s,
            request_id: problem.request_id.as_deref(),
        }
    }
}

/// The ways in which any call may be refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "stands for the answers in the document; refusals are made from problems")]
pub(super) enum Refused {
    /// Something in the request is wrong; `field` says what.
    #[response(status = 400)]
    BadRequest(ProblemView<'static>),
    /// No credential, or one that is unknown or over.
    #[response(status = 401)]
    Unauthorized(ProblemView<'static>),
    /// The credential does not allow this.
    #[response(status = 403)]
    Forbidden(ProblemView<'static>),
    /// No such thing, or none that the credential shows.
    #[response(status = 404)]
    NotFound(ProblemView<'static>),
    /// It contradicts what there is, or a limit is reached.
    #[response(status = 409)]
    Conflict(ProblemView<'static>),
    /// The body is too long.
    #[response(status = 413)]
    TooLarge(ProblemView<'static>),
    /// Too many requests; `Retry-After` says when to come again.
    #[response(status = 429)]
    TooMany(ProblemView<'static>),
    /// Control is overloaded or cannot write; `Retry-After` says when to come again.
    #[response(status = 503)]
    Unavailable(ProblemView<'static>),
}
