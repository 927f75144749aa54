//! Join tokens: what lets nodes into a group.

use hyper::Method;
use serde_json::{Value, json};

use super::{
    Failure, Session,
    output::write_private,
    print,
    session::Written,
    show::{self, NONE},
};
use crate::{
    clock::Clock,
    config::{
        Format,
        ng::{JoinTokenCommand, Wait},
    },
    management::JoinToken,
};

pub(super) async fn join_token(session: &Session, command: JoinTokenCommand) -> Result<(), Failure> {
    match command {
        JoinTokenCommand::Create { group, member, uses, expires, output } => {
            let group = session.group(&group.group).await?;
            let member =
                member.map(|wanted| group.member(&wanted).map(|member| member.id.clone())).transpose()?;
            let body = json!({"member": member, "maxUses": uses, "expiresInS": expires.0});
            let path = session.of_group(&group.id, "/join-tokens");
            let mut written = session.write(Method::POST, &path, Some(&body), Wait { wait: None }).await?;
            let token = secret(&mut written, output.is_some())?;
            match (&output, session.format) {
                (Some(path), _) => {
                    write_private(path, format!("{token}\n").as_bytes())?;
                    let text =
                        format!("written to {}: `lacis up --token-file {}`", path.display(), path.display());
                    session.say(&text, &written.answer);
                }
                (None, Format::Human) => print::line(&format!("lacis up {token}")),
                (None, Format::Json) => print::json(&written.answer),
            }
            Ok(())
        }
        JoinTokenCommand::List(name) => {
            let group = session.group(&name.group).await?;
            let value = session.client.get(&session.of_group(&group.id, "/join-tokens")).await?;
            match session.format {
                Format::Json => print::json(&value),
                Format::Human => list(&session.client.read::<Vec<JoinToken>>(&value)?),
            }
            Ok(())
        }
        JoinTokenCommand::Revoke { id, group, dry_run } => {
            let group = session.group(&group.group).await?;
            let what = format!("join token {id} of {}", group.label);
            if dry_run {
                let value = json!({"dryRun": true, "revoke": id, "group": group.id});
                session.say(&format!("would revoke {what}"), &value);
                return Ok(());
            }
            let path = session.of_group(&group.id, &format!("/join-tokens/{id}"));
            session.write(Method::DELETE, &path, None, Wait { wait: None }).await?;
            session.say(&format!("revoked {what}; nodes that joined with it stay"), &json!({"revoked": id}));
            Ok(())
        }
    }
}

/// Takes the secret of a new token, and leaves it out of the answer when it goes into a file.
pub(super) fn secret(written: &mut Written, into_file: bool) -> Result<String, Failure> {
    let token = written.answer["token"].as_str().map(str::to_owned);
    let token =
        token.ok_or_else(|| Failure::Failed("control made a token and did not show it".to_owned()))?;
    if let (true, Value::Object(answer)) = (into_file, &mut written.answer) {
        for name in ["token", "clever_token", "clever_secret"] {
            answer.remove(name);
        }
    }
    Ok(token)
}

fn list(tokens: &[JoinToken]) {
    if tokens.is_empty() {
        return print::line("no join token: `lacis ng join-token create GROUP`");
    }
    let now = Clock::start().unix_ms();
    let head = ["ID", "STATE", "USES", "EXPIRES", "MEMBER"].map(str::to_owned);
    let rows = tokens.iter().map(|token| {
        let most = if token.max_uses == 0 { "any".to_owned() } else { token.max_uses.to_string() };
        vec![
            token.id.clone(),
            if token.state.is_empty() { NONE.to_owned() } else { token.state.clone() },
            format!("{} of {most}", token.uses),
            show::expiry(token.expires_ms, now),
            token.member.clone().unwrap_or_else(|| "each node".to_owned()),
        ]
    });
    print::fitting(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>());
}
