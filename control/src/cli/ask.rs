//! How a command reaches its control: through the admin socket while one runs, else on the store itself.

use std::{path::Path, sync::Arc};

use ::http::{Method, Request, StatusCode, header};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use lacis_proto::Problem;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    Config,
    admin::{self, Call},
    app,
};

/// An answer, and whether it came from a running control.
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) is_running: bool,
}

pub(super) async fn ask<T: DeserializeOwned>(data: &Path, call: Call) -> anyhow::Result<Answer<T>> {
    if !data.join("control.db").exists() {
        bail!(
            "there is no installation in {data:?}; start one with: lacis-control serve --data {}",
            data.display()
        );
    }
    let (answer, is_running) = match UnixStream::connect(data.join(admin::SOCKET)).await {
        Ok(stream) => (over(stream, &call).await?, true),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(error)
                .context("the admin socket belongs to another user; run this as that user or root");
        }
        Err(_) => (directly(data, call).await?, false),
    };
    let value = admin::read(answer).context("control answered in a form of another version")?;
    Ok(Answer { value, is_running })
}

async fn over(stream: UnixStream, call: &Call) -> anyhow::Result<serde_json::Value> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(admin::PATH)
        .header(header::HOST, "localhost")
        .body(Full::new(Bytes::from(serde_json::to_vec(call)?)))?;
    let response = sender.send_request(request).await.context("control did not answer")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("control did not answer in full")?.to_bytes();
    connection.abort();
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body)?);
    }
    let problem: Problem =
        serde_json::from_slice(&body).with_context(|| format!("control answered {status}"))?;
    Err(problem.into())
}

async fn directly(data: &Path, call: Call) -> anyhow::Result<serde_json::Value> {
    let stopped = app::open(data, &Config::new(data).suffixes).await?.without_listening().await?;
    let answer = admin::perform(&stopped.control, call).await;
    let app::Stopped { control, writer, folder } = stopped;
    drop(Arc::into_inner(control));
    writer.await.context("the writer failed")?;
    drop(folder);
    Ok(answer?)
}
