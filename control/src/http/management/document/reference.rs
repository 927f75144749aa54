//! The document for people and for language models: the same calls, as text and as a page without scripts.

use std::fmt::Write as _;

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// What stands before the calls.
pub(super) const INTRODUCTION: &str = "\
Manage the network groups of a Lacis control: groups, their members and peers, tokens and nodes. The paths, ids \
and shapes are those of the network-groups API of the platform, so that its clients work here.

Show an API token as `Authorization: Bearer lacis_api_…`, or by OAuth 1.0 (PLAINTEXT, HMAC-SHA1, HMAC-SHA256, \
HMAC-SHA512); for event streams also in base64 in the query parameter `authorization`. Every POST may be sent \
again: it makes or changes what its id names. A write has happened when it is answered; with `?wait=SECONDS` it \
is answered when the connected agents have applied it. `version` grows by one with each commit to a group. \
Refusals have `message`, `error`, `code` and `field`, and the members of RFC 9457; 429 and 503 say when to come \
again in `Retry-After`.";

/// A call of the document.
struct Call<'a> {
    tag: &'a str,
    method: String,
    path: &'a str,
    does: &'a str,
    params: Vec<String>,
    body: Option<String>,
    answers: Vec<String>,
}

/// `/llms.txt`.
pub(super) fn text(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut text = format!("# Lacis network groups\n\n{INTRODUCTION}\n\nThe whole document: /openapi.json\n");
    let mut tag = "";
    for call in calls(&document) {
        if call.tag != tag {
            tag = call.tag;
            let _ = writeln!(text, "\n## {tag}");
        }
        let _ = writeln!(text, "\n### {} {}\n\n{}", call.method, call.path, call.does);
        for line in call.details() {
            let _ = writeln!(text, "- {line}");
        }
    }
    let _ = writeln!(text, "\n## Objects");
    for (name, fields) in objects(&document) {
        let _ = writeln!(text, "\n### {name}\n");
        for field in fields {
            let _ = writeln!(text, "- {field}");
        }
    }
    text
}

/// `/reference`.
pub(super) fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut body = String::new();
    for part in INTRODUCTION.split("\n\n") {
        let _ = writeln!(body, "<p>{}</p>", escaped(part));
    }
    let mut tag = "";
    for call in calls(&document) {
        if call.tag != tag {
            tag = call.tag;
            let _ = writeln!(body, "<h2>{}</h2>", escaped(tag));
        }
        let _ = writeln!(body, "<h3><b>{}</b> <code>{}</code></h3>", call.method, escaped(call.path));
        let _ = writeln!(body, "<p>{}</p><ul>", escaped(call.does));
        for line in call.details() {
            let _ = writeln!(body, "<li>{}</li>", escaped(&line));
        }
        let _ = writeln!(body, "</ul>");
    }
    let _ = writeln!(body, "<h2>Objects</h2>");
    for (name, fields) in objects(&document) {
        let _ = writeln!(body, "<h3><code>{}</code></h3><ul>", escaped(name));
        for field in fields {
            let _ = writeln!(body, "<li>{}</li>", escaped(&field));
        }
        let _ = writeln!(body, "</ul>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Lacis network groups</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         code{{overflow-wrap:anywhere}}</style><h1>Lacis network groups</h1>\n\
         <p><a href=\"/openapi.json\">OpenAPI 3.1</a></p>\n{body}</html>\n"
    )
}

impl Call<'_> {
    fn details(&self) -> impl Iterator<Item = String> {
        let params = self.params.iter().cloned();
        let body = self.body.iter().map(|name| format!("body: {name}"));
        params.chain(body).chain(self.answers.iter().cloned())
    }
}

fn calls(document: &Value) -> Vec<Call<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut calls: Vec<Call<'_>> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, call)| read(path, method, call))
        })
        .collect();
    calls.sort_by(|a, b| (a.tag, a.path, &a.method).cmp(&(b.tag, b.path, &b.method)));
    calls
}

fn read<'a>(path: &'a str, method: &str, call: &'a Value) -> Call<'a> {
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    let params = call["parameters"].as_array().into_iter().flatten();
    let named = params.filter(|param| param["in"] != "path").map(|param| {
        format!("{} {}: {}", text(&param["in"]), text(&param["name"]), text(&param["description"]))
    });
    let answers = call["responses"].as_object().into_iter().flatten();
    let answers = answers.filter(|(status, _)| status.starts_with('2')).map(|(status, answer)| {
        let kinds = answer["content"].as_object().into_iter().flatten();
        let kinds: Vec<String> =
            kinds.map(|(kind, content)| format!("{kind} {}", schema(&content["schema"]))).collect();
        format!("{status}: {} {}", text(&answer["description"]), kinds.join(" or "))
    });
    let does = [&call["summary"], &call["description"]].map(|part| part.as_str().unwrap_or_default());
    Call {
        tag: text(&call["tags"][0]),
        method: method.to_uppercase(),
        path,
        does: if does[1].is_empty() { does[0] } else { does[1] },
        params: named.collect(),
        body: call["requestBody"]["content"]["application/json"].get("schema").map(schema),
        answers: answers.collect(),
    }
}

/// Names and fields of the objects.
fn objects(document: &Value) -> impl Iterator<Item = (&str, Vec<String>)> {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    schemas.map(|(name, object)| {
        let parts = object["allOf"].as_array().into_iter().flatten().chain([object]);
        let fields = parts.flat_map(|part| part["properties"].as_object().into_iter().flatten());
        let fields = fields.map(|(field, value)| {
            let about = value["description"].as_str().unwrap_or_default();
            format!("{field} ({}): {about}", schema(value)).trim_end_matches(": ").to_owned()
        });
        (name.as_str(), fields.collect())
    })
}

/// A schema in a word or two.
fn schema(value: &Value) -> String {
    if let Some(name) = value["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if value.get("items").is_some() {
        return format!("list of {}", schema(&value["items"]));
    }
    let several = ["oneOf", "allOf", "anyOf"].iter().find_map(|several| value[*several].as_array());
    if let Some(several) = several {
        return several.iter().map(schema).collect::<Vec<_>>().join(" or ");
    }
    match &value["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "object".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
