//! `lacis join`, `lacis leave`, `lacis rotate-key` and `lacis down`: which groups a running agent is in, and with
//! which key.

use serde_json::json;

use super::{Failure, failed, print};
use crate::{
    config::{Common, Format, JoinArgs, LeaveArgs, RotateKeyArgs},
    socket::{Reply, Request, ask},
};

pub(super) async fn join(args: JoinArgs) -> Result<(), Failure> {
    let token = args.token().map_err(|error| Failure::Failed(error.to_string()))?.to_string();
    change(&args.common, Request::Join { token }, "joined; `lacis status` shows the group").await
}

pub(super) async fn leave(args: LeaveArgs) -> Result<(), Failure> {
    match args.group {
        Some(group) => {
            let done = format!("left {group}: its interface, key and cached state are gone");
            change(&args.common, Request::Leave { group }, &done).await
        }
        None => {
            change(&args.common, Request::Purge {}, "nothing of Lacis is left running or stored here").await
        }
    }
}

pub(super) async fn rotate_key(args: RotateKeyArgs) -> Result<(), Failure> {
    let request = Request::RotateKey { group: args.group };
    change(&args.common, request, "took a new key; peers follow as they hear of it").await
}

pub(super) async fn down(args: Common) -> Result<(), Failure> {
    change(&args, Request::Down {}, "down; `lacis up` goes on from what is known").await
}

async fn change(common: &Common, request: Request, done: &str) -> Result<(), Failure> {
    match ask(&common.socket, &request).await?.next().await? {
        Reply::Done {} if common.format == Format::Json => print::json(&json!({"event": "done"})),
        Reply::Done {} => print::line(done),
        other @ (Reply::Status(_)
        | Reply::Pong(_)
        | Reply::Explained(_)
        | Reply::Netcheck(_)
        | Reply::Log { .. }
        | Reply::Journal { .. }
        | Reply::Error { .. }) => return Err(failed(other)),
    }
    Ok(())
}
