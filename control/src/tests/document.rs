//! The document of the management API: as it was reviewed, and served in every form.

use ::http::{Method, header};

use super::{api::Api, client::start};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/openapi.json");

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    let now = crate::openapi().unwrap();
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let differs = now.lines().zip(golden.lines()).position(|(now, golden)| now != golden);
    assert!(
        now == golden,
        "the document has changed, first in line {}; read the change, and renew it with\n  \
         cargo run -q -p lacis-control -- openapi >control/golden/openapi.json",
        differs.unwrap_or(golden.lines().count()) + 1
    );
}

#[tokio::test]
async fn the_document_is_served_without_login() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    for (path, kind, part) in [
        ("/openapi.json", "application/json", "\"openapi\": \"3.1"),
        ("/llms.txt", "text/plain", "### POST /v4/networkgroups/organisations/{ownerId}/networkgroups"),
        ("/reference", "text/html", "<h2>members</h2>"),
    ] {
        let answer = api.client.with(Method::GET, path, &[], "").await;
        assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(kind));
        assert!(std::str::from_utf8(&answer.body).unwrap().contains(part), "{path}: {:?}", answer.body);
    }
    running.shutdown().await;
}
