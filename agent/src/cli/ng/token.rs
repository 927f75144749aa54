//! API tokens: what manages groups.

use hyper::Method;
use serde_json::json;

use super::{
    Failure, Session,
    join_token::secret,
    output::write_private,
    print,
    show::{self, NONE},
};
use crate::{
    clock::Clock,
    config::{
        Format,
        ng::{Access, TokenCommand, Wait},
    },
    management::{Token, one},
};

pub(super) async fn token(session: &Session, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { label, access, groups, expires, output } => {
            let access = match access {
                Access::Read => "read",
                Access::Write => "write",
            };
            let mut body = json!({"label": label, "access": access, "expiresInS": expires.0});
            if !groups.is_empty() {
                let mut ids = Vec::new();
                for wanted in groups {
                    ids.push(session.group(&wanted).await?.id);
                }
                body["groups"] = json!(ids);
            }
            let path = session.of_owner("tokens");
            let mut written = session.write(Method::POST, &path, Some(&body), Wait { wait: None }).await?;
            let field = |name: &str| written.answer[name].as_str().unwrap_or_default().to_owned();
            let pair = [field("clever_token"), field("clever_secret")];
            let token = secret(&mut written, output.is_some())?;
            match (&output, session.format) {
                (Some(path), _) => {
                    write_private(path, format!("{token}\n").as_bytes())?;
                    let text = format!("written to {}, readable by you alone", path.display());
                    session.say(&text, &written.answer);
                }
                (None, Format::Human) => {
                    print::line(&token);
                    print::line("for clients that sign:");
                    print::line(&format!("  CLEVER_TOKEN={}", pair[0]));
                    print::line(&format!("  CLEVER_SECRET={}", pair[1]));
                }
                (None, Format::Json) => print::json(&written.answer),
            }
            Ok(())
        }
        TokenCommand::List => {
            let value = session.client.get(&session.of_owner("tokens")).await?;
            match session.format {
                Format::Json => print::json(&value),
                Format::Human => list(&session.client.read::<Vec<Token>>(&value)?),
            }
            Ok(())
        }
        TokenCommand::Revoke { id, dry_run } => {
            let value = session.client.get(&session.of_owner("tokens")).await?;
            let tokens: Vec<Token> = session.client.read(&value)?;
            let token = one("API token", &tokens, &id)?;
            let what = format!("API token {} ({})", token.id, token.label);
            if dry_run {
                session.say(&format!("would revoke {what}"), &json!({"dryRun": true, "revoke": token.id}));
                return Ok(());
            }
            let path = session.of_owner(&format!("tokens/{}", token.id));
            session.write(Method::DELETE, &path, None, Wait { wait: None }).await?;
            session.say(&format!("revoked {what}"), &json!({"revoked": token.id}));
            Ok(())
        }
    }
}

fn list(tokens: &[Token]) {
    let clock = Clock::start();
    let now = clock.unix_ms();
    let head = ["ID", "LABEL", "ACCESS", "GROUPS", "EXPIRES", "LAST USED"].map(str::to_owned);
    let rows = tokens.iter().map(|token| {
        let groups = token.groups.as_deref().unwrap_or_default();
        vec![
            token.id.clone(),
            if token.label.is_empty() { NONE.to_owned() } else { token.label.clone() },
            token.access.clone(),
            if groups.is_empty() { "all".to_owned() } else { groups.join(" ") },
            show::expiry(token.expires_ms, now),
            show::since(token.last_used_ms, now),
        ]
    });
    print::fitting(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>());
}
