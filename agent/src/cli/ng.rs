//! `lacis ng`: manages network groups through the management API, with the verbs that users of the
//! platform's own command line know.
//!
//! ```text
//! arguments ─▶ target (control, token, owner; from arguments, environment, profile) ─▶ session ─▶ verb ─▶ print
//! ```

mod access;
pub mod complete;
mod external;
mod gateway;
mod group;
mod join_token;
mod key;
mod member;
mod node;
mod output;
mod peer;
mod profile;
mod qr;
mod session;
mod show;
mod token;
mod watch;

use self::session::Session;
use super::{Failure, print};
use crate::{
    config::ng::{CreateOther, DeleteOther, Manage, NgArgs, NgCommand},
    control::CallError,
    management::NotOne,
};

pub(super) async fn ng(args: NgArgs) -> Result<(), Failure> {
    let target = args.target;
    match args.command {
        Some(NgCommand::Login(args)) => access::login(&target, &args.name).await,
        Some(NgCommand::Logout) => access::logout(&target),
        Some(NgCommand::Profile(args)) => access::profile(&target, args.command),
        Some(NgCommand::Manage(command)) => manage(&Session::open(&target).await?, *command).await,
        None => group::list(&Session::open(&target).await?).await,
    }
}

async fn manage(session: &Session, command: Manage) -> Result<(), Failure> {
    match command {
        Manage::List => group::list(session).await,
        Manage::Create(args) => match args.other {
            Some(CreateOther::External { label, group, public_key }) => {
                external::create_with_key(session, &label, &group.group, public_key).await
            }
            None => group::create(session, args).await,
        },
        Manage::Edit(args) => group::edit(session, args).await,
        Manage::Delete(args) => match args.other {
            Some(DeleteOther::External(args)) => external::delete(session, args).await,
            None => group::delete(session, &args.group.unwrap_or_default(), args.removal).await,
        },
        Manage::Link(args) => member::link(session, args).await,
        Manage::Unlink(args) => member::unlink(session, args).await,
        Manage::Get(args) => group::get(session, args).await,
        Manage::Search(args) => group::search(session, args).await,
        Manage::GetConfig(args) => peer::configuration(session, args).await,
        Manage::Member(command) => member::member(session, command).await,
        Manage::Peer(command) => peer::peer(session, command).await,
        Manage::External(command) => external::external(session, command).await,
        Manage::Gateway(args) => gateway::gateway(session, args.command).await,
        Manage::JoinToken(command) => join_token::join_token(session, command).await,
        Manage::Token(command) => token::token(session, command).await,
        Manage::Node(command) => node::node(session, command).await,
        Manage::Watch(args) => watch::watch(session, args).await,
        Manage::Audit(args) => watch::audit(session, args).await,
        Manage::Receipt(args) => group::receipt(session, args).await,
        Manage::Whoami => access::whoami(session).await,
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unreachable { .. } if text.contains("UnknownIssuer") => Self::NoControl(format!(
                "{text}; name its certificate authority with --ca FILE (`lacis-control serve` prints where it is)"
            )),
            CallError::Unreachable { .. } => Self::NoControl(text),
            CallError::Refused { problem, .. } => match problem.status {
                401 => Self::NotAllowed(format!("{problem}; see `lacis ng login --help`")),
                403 => Self::NotAllowed(problem.to_string()),
                404 => Self::NoSuchThing(problem.to_string()),
                _ => Self::Failed(with_field(&problem)),
            },
            CallError::Answer { .. } => Self::Failed(text),
        }
    }
}

fn with_field(problem: &lacis_proto::Problem) -> String {
    match &problem.field {
        Some(field) if !problem.message.contains(field.as_str()) => format!("{problem} (field {field})"),
        Some(_) | None => problem.to_string(),
    }
}

impl From<NotOne> for Failure {
    fn from(error: NotOne) -> Self {
        match error {
            NotOne::None { .. } => Self::NoSuchThing(error.to_string()),
            NotOne::Several { .. } => Self::Usage(error.to_string()),
        }
    }
}
