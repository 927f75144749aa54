//! The document of the management API: OpenAPI 3.1 out of the code, and what people and their tools read.

mod reference;

use std::sync::{Arc, LazyLock};

use ::http::{HeaderValue, header};
use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use utoipa::{
    PartialSchema as _,
    openapi::{
        Info, OpenApi, RefOr, Server,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{problem::ProblemView, stream::PutView};
use crate::app::Control;

/// What every page is made of: the routes do not change while control runs.
static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(|| finished(super::described().into_openapi()));
static JSON: LazyLock<String> = LazyLock::new(|| json().unwrap_or_default());
static LLMS: LazyLock<String> = LazyLock::new(|| reference::text(&DOCUMENT));
static PAGE: LazyLock<String> = LazyLock::new(|| reference::page(&DOCUMENT));

/// The document without its paths.
pub(super) fn frame() -> OpenApi {
    let mut info = Info::new("Lacis network groups", env!("CARGO_PKG_VERSION"));
    info.description = Some(reference::INTRODUCTION.to_owned());
    let mut frame = OpenApi::new(info, utoipa::openapi::Paths::new());
    frame.servers = Some(vec![Server::new("/")]);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("lacis_api_…")).build();
    let mut components = utoipa::openapi::Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    // What only refusals and events hold is named by no answer of the routes.
    components.schemas.insert("Problem".to_owned(), ProblemView::schema());
    components.schemas.insert("RecordPut".to_owned(), PutView::schema());
    frame.components = Some(components);
    frame.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    frame
}

/// Gives every call a name of its own, and every answer a word.
fn finished(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for call in methods.into_iter().flatten() {
            let tag = call.tags.as_ref().and_then(|tags| tags.first()).map(|tag| tag.replace(' ', "_"));
            let name = call.operation_id.take().unwrap_or_default();
            call.operation_id = Some(format!("{}_{name}", tag.unwrap_or_default()));
            for answer in call.responses.responses.values_mut() {
                if let RefOr::T(answer) = answer
                    && answer.description.is_empty()
                {
                    "The answer.".clone_into(&mut answer.description);
                }
            }
        }
    }
    document
}

/// The document as JSON.
///
/// # Errors
/// Never: the document is made of plain values.
pub(crate) fn json() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&*DOCUMENT).map(|text| text + "\n")
}

pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/openapi.json", get(async || page("application/json", &JSON)))
        .route("/llms.txt", get(async || page("text/plain; charset=utf-8", &LLMS)))
        .route("/reference", get(async || page("text/html; charset=utf-8", &PAGE)))
}

fn page(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
