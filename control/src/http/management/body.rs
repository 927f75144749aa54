//! What stands in a request: bodies, queries and names in the path, each refused with the field that is odd.

use std::{fmt, sync::Arc};

use ::http::request::Parts;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use lacis_proto::{Code, MemberKind, Problem};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    app::Control,
    http::{self, Refusal},
};

/// A body in JSON; an empty one is an object without fields.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Control>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Arc<Control>) -> Result<Self, Refusal> {
        let (_, body) = http::body_of(request).await?;
        parse(if body.is_empty() { b"{}" } else { &body }).map(Self).map_err(Refusal)
    }
}

/// What a query asks for.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Control>> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, control).await;
        let odd = |error: axum::extract::rejection::QueryRejection| {
            Problem::new(
                Code::BadRequest,
                format!("the query is not what this call takes: {}", error.body_text()),
            )
        };
        Ok(Self(query.map_err(odd)?.0))
    }
}

/// What a path names beside owner and group.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Control>> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        let named = Path::from_request_parts(parts, control).await;
        Ok(Self(named.map_err(|_| Problem::new(Code::NotFound, "the path names nothing that there is"))?.0))
    }
}

/// Reads a JSON body; a refusal names the field.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Without this a list of values would pass for an object.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::new(Code::BadRequest, "the body is no JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (field, why) = (error.path().to_string(), plain(&error.inner().to_string()));
        if field == "." {
            return Problem::new(Code::BadRequest, format!("the body is not what this call takes: {why}"));
        }
        let field = field.trim_end_matches(".?").to_owned();
        Problem::new(Code::BadRequest, format!("{field} is not what this call takes: {why}")).in_field(&field)
    })?;
    json.end().map_err(|_| Problem::new(Code::BadRequest, "the body goes on after its JSON"))?;
    Ok(read)
}

/// A message of the parser, cut: it may repeat what was sent.
fn plain(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A field that must be there.
pub(super) fn needed<T>(value: Option<T>, field: &str) -> Result<T, Problem> {
    value.ok_or_else(|| lacking(field))
}

/// The refusal of a body without a field.
pub(super) fn lacking(field: &str) -> Problem {
    Problem::new(Code::BadRequest, format!("{field} is missing")).in_field(field)
}

/// A value of a field, parsed.
pub(super) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(text: &str, field: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error: T::Err| Problem::new(Code::BadRequest, format!("{field}: {error}")).in_field(field))
}

/// The same for a field that may be left out.
pub(super) fn maybe<T: std::str::FromStr<Err: fmt::Display>>(
    text: Option<&str>,
    field: &str,
) -> Result<Option<T>, Problem> {
    text.map(|text| parsed(text, field)).transpose()
}

/// What a member is, in any case.
pub(super) fn kind(text: Option<&str>) -> Result<Option<MemberKind>, Problem> {
    text.map(|text| match text.to_ascii_uppercase().as_str() {
        "APPLICATION" => Ok(MemberKind::Application),
        "ADDON" => Ok(MemberKind::Addon),
        "EXTERNAL" => Ok(MemberKind::External),
        _ => Err(Problem::new(Code::BadRequest, "kind is none of APPLICATION, ADDON and EXTERNAL")
            .in_field("kind")),
    })
    .transpose()
}

/// A UDP port as a number, or as the text of one.
pub(super) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u64),
        Text(String),
    }
    let wrong = || serde::de::Error::custom("a port is a number from 1 to 65535");
    let port = match Option::<Port>::deserialize(deserializer).map_err(|_| wrong())? {
        None => return Ok(None),
        Some(Port::Number(number)) => u16::try_from(number).ok(),
        Some(Port::Text(text)) => text.trim().parse().ok(),
    };
    port.filter(|port| *port != 0).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        label: Option<String>,
        #[serde(default, deserialize_with = "port")]
        port: Option<u16>,
        #[serde(default)]
        members: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        id: String,
    }

    #[test]
    fn a_refusal_names_the_field() {
        let check = |body: &str, field: Option<&str>| {
            let problem = parse::<Wanted>(body.as_bytes()).unwrap_err();
            assert_eq!(
                (problem.code, problem.field.as_deref()),
                (Code::BadRequest, field),
                "{}: {problem}",
                &body[..body.len().min(80)]
            );
        };
        check(r#"{"label":5}"#, Some("label"));
        check(r#"{"port":"x"}"#, Some("port"));
        check(r#"{"port":70000}"#, Some("port"));
        check(r#"{"port":0}"#, Some("port"));
        check(r#"{"members":[{"id":"a"},{"id":[]}]}"#, Some("members[1].id"));
        check("[]", None);
        check("{}x", None);
        check("{} {}", None);
        check("\u{0}", None);
        let deep = "[".repeat(100_000);
        check(&format!("{{\"label\":{deep}"), Some("label"));
        let read = parse::<Wanted>(br#"{"label":null,"port":"51820","more":{}}"#).unwrap();
        assert_eq!((read.label, read.port, read.members.len()), (None, Some(51_820), 0));
        assert_eq!(parse::<Wanted>(br#"{"members":[{"id":"a"}]}"#).unwrap().members[0].id, "a");
    }
}
