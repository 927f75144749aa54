//! The Lacis control service: allocates overlay addresses and introduces peers.
//!
//! ```text
//! config ─▶ app ─▶ keys, store ─▶ live ◀─ writer ◀─ http ◀─ listener (TLS)
//! ```
//! The rules are in `lacis-control-core`; here are the store, the writer, the published scopes, HTTP,
//! TLS and the command line. [`serve`] runs a whole control inside any process.

#![forbid(unsafe_code)]

mod admin;
mod app;
pub mod cli;
mod clock;
mod config;
mod data;
mod hosts;
mod http;
mod keys;
mod limits;
mod listener;
mod live;
mod metrics;
mod relays;
mod retention;
mod standalone;
mod store;
mod tls;
mod writer;

#[cfg(test)]
mod tests;

pub use app::{Ready, Running, StartError, serve};
pub use config::{Config, Keep, RelayListen};
pub use data::DataError;
pub use hosts::UrlError;
pub use keys::KeysError;
pub use relays::{KeyFileError, RelayError};
pub use store::StoreError;
pub use tls::LeafError;

/// The document of the management API in OpenAPI 3.1, as it is served at `/openapi.json`.
///
/// # Errors
/// Never: the document is made of plain values.
pub fn openapi() -> Result<String, serde_json::Error> {
    http::management::document::json()
}
