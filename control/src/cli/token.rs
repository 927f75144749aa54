//! `lacis-control token` and `lacis-control api-token`.

use std::{io::Write as _, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use lacis_proto::{GroupId, LifetimeError, MemberId, OwnerId, TokenId};
use serde_json::Value;

use super::{Common, Format, ask::ask, table};
use crate::{
    admin::{Call, Made, TokenEntry},
    clock,
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a join token and prints it, this once.
    Create(CreateArgs),
    /// Lists join tokens, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
        /// Only those of this group, by id or label.
        #[arg(long)]
        group: Option<String>,
    },
    /// Ends a join token; nodes that have joined with it stay.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The token's id.
        id: TokenId,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    common: Common,
    /// The group that it lets into, by id or label [default: the only one].
    #[arg(long)]
    group: Option<String>,
    /// The member whose peers it lets run [default: each node is a member of its own].
    #[arg(long)]
    member: Option<MemberId>,
    /// How many nodes may use it; 0 for any number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    uses: u32,
    /// How long it may be used, as 30m, 24h or 7d, or never to end by itself.
    #[arg(long, default_value = "24h", value_parser = lifetime, value_name = "TIME")]
    expires: Lifetime,
}

#[derive(Debug, Subcommand)]
pub(super) enum ApiTokenCommand {
    /// Makes an API token and prints it, this once.
    Create(CreateApiArgs),
    /// Lists API tokens, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Ends an API token.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The token's id.
        id: TokenId,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateApiArgs {
    #[command(flatten)]
    common: Common,
    /// Whose groups it manages [default: the first owner].
    #[arg(long)]
    owner: Option<OwnerId>,
    /// What people call it.
    #[arg(long, default_value = "")]
    label: String,
    /// What it may do.
    #[arg(long, value_enum, default_value = "write")]
    access: Access,
    /// A group that it sees, by id; repeatable [default: all of the owner, also later ones].
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<GroupId>,
    /// How long it may be used, as 30m, 24h or 7d, or never to end by itself.
    #[arg(long, default_value = "never", value_parser = lifetime, value_name = "TIME")]
    expires: Lifetime,
}

/// What an API token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// How long a token may be used, or something is kept; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime(pub(super) Option<Duration>);

impl Lifetime {
    fn milliseconds(self) -> Option<u64> {
        self.0.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX))
    }
}

pub(super) async fn token(command: TokenCommand) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        TokenCommand::Create(args) => {
            let lifetime_ms = args.expires.milliseconds();
            let (group, member, uses) = (args.group, args.member, args.uses);
            let call = Call::CreateJoinToken { group, member, uses, lifetime_ms };
            let made: Made = ask(&args.common.data, call).await?.value;
            match args.common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&made)?)?,
                Format::Human => writeln!(out, "lacis up {}", made.token)?,
            }
        }
        TokenCommand::List { common, group } => {
            let tokens: Vec<TokenEntry> = ask(&common.data, Call::ListJoinTokens { group }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&tokens)?)?,
                Format::Human => write!(out, "{}", list(&tokens))?,
            }
        }
        TokenCommand::Revoke { common, id } => {
            let () = ask(&common.data, Call::RevokeJoinToken { id: id.clone() }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::json!({"id": id, "state": "revoked"}))?,
                Format::Human => writeln!(out, "join token {id} is revoked")?,
            }
        }
    }
    Ok(())
}

pub(super) async fn api_token(command: ApiTokenCommand) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        ApiTokenCommand::Create(args) => {
            let CreateApiArgs { common, owner, label, access, groups, expires } = args;
            let may_write = access == Access::Write;
            let call =
                Call::CreateApiToken { owner, label, may_write, groups, lifetime_ms: expires.milliseconds() };
            let made: Value = ask(&common.data, call).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{made}")?,
                Format::Human => write!(out, "{}", credentials(&made))?,
            }
        }
        ApiTokenCommand::List { common } => {
            let tokens: Value = ask(&common.data, Call::ListApiTokens).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{tokens}")?,
                Format::Human => write!(out, "{}", api_list(&tokens))?,
            }
        }
        ApiTokenCommand::Revoke { common, id } => {
            let () = ask(&common.data, Call::RevokeApiToken { id: id.clone() }).await?.value;
            match common.format {
                Format::Json => writeln!(out, "{}", serde_json::json!({"id": id, "state": "revoked"}))?,
                Format::Human => writeln!(out, "API token {id} is revoked")?,
            }
        }
    }
    Ok(())
}

/// A new API token in both of its forms: bearer, and the pair that the platform's clients take.
fn credentials(made: &Value) -> String {
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let (token, pair) = (text("token"), [text("clever_token"), text("clever_secret")]);
    format!("{token}\nCLEVER_TOKEN={}\nCLEVER_SECRET={}\n", pair[0], pair[1])
}

fn api_list(tokens: &Value) -> String {
    let head = ["ID", "ACCESS", "GROUPS", "EXPIRES", "LAST USED", "LABEL"].map(str::to_owned);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = tokens.as_array().into_iter().flatten().map(|token| {
        let groups = token["groups"].as_array().map_or(0, Vec::len);
        [
            text(&token["id"]),
            text(&token["access"]),
            if groups == 0 { "all".to_owned() } else { groups.to_string() },
            token["expiresMs"].as_u64().map_or_else(|| "never".to_owned(), remaining),
            token["lastUsedMs"].as_u64().map_or_else(|| "never".to_owned(), ago),
            text(&token["label"]),
        ]
    });
    table(std::iter::once(head).chain(rows))
}

fn ago(then_ms: u64) -> String {
    match clock::unix_ms().saturating_sub(then_ms) / 60_000 {
        0 => "now".to_owned(),
        minutes @ 1..=119 => format!("{minutes} min ago"),
        minutes @ 120..=2_879 => format!("{} h ago", minutes / 60),
        minutes => format!("{} d ago", minutes / 1_440),
    }
}

fn list(tokens: &[TokenEntry]) -> String {
    let head = ["ID", "STATE", "USES", "EXPIRES", "MEMBER", "GROUP"].map(str::to_owned);
    let rows = tokens.iter().map(|token| {
        let most = if token.max_uses == 0 { "any".to_owned() } else { token.max_uses.to_string() };
        [
            token.id.to_string(),
            token.state.clone(),
            format!("{} of {most}", token.uses),
            token.expires_ms.map_or_else(|| "never".to_owned(), remaining),
            token.member.as_ref().map_or_else(|| "each node".to_owned(), ToString::to_string),
            token.group.to_string(),
        ]
    });
    table(std::iter::once(head).chain(rows))
}

fn remaining(expires_ms: u64) -> String {
    match expires_ms.checked_sub(clock::unix_ms()).map(|left| left / 60_000) {
        None => "over".to_owned(),
        Some(minutes @ 0..=119) => format!("in {minutes} min"),
        Some(minutes @ 120..=2_879) => format!("in {} h", minutes / 60),
        Some(minutes) => format!("in {} d", minutes / 1_440),
    }
}

pub(super) fn lifetime(text: &str) -> Result<Lifetime, LifetimeError> {
    lacis_proto::parse_lifetime(text).map(Lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit() {
        assert_eq!(lifetime("24h"), Ok(Lifetime(Some(Duration::from_secs(86_400)))));
        assert_eq!(lifetime("never"), Ok(Lifetime(None)));
        for bad in ["", "h", "24", "0h", "-1h", "1y", "99999999999999999999d", "1é"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
