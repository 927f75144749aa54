//! `lacis ng login`, `logout`, `profile` and `whoami`: which control this user manages, and as whom.

use serde_json::{Value, json};

use super::{
    Failure, print,
    profile::Profiles,
    session::{Access, Session},
};
use crate::config::{
    Format,
    ng::{ProfileCommand, Target},
};

/// Tries the credential, and remembers it when it works.
pub(super) async fn login(target: &Target, name: &str) -> Result<(), Failure> {
    let access = Access::of(target)?;
    let owner = access.owner().await?;
    access.reaches(&owner).await?;
    let mut profile = access.profile;
    profile.owner = Some(owner.clone());
    let api = profile.api.clone();
    let mut profiles = Profiles::load()?;
    profiles.keep(name, profile);
    let path = profiles.save()?;
    match target.format {
        Format::Human => {
            print::line(&format!("{name}: {owner} at {api}, remembered in {}", path.display()));
        }
        Format::Json => print::json(&json!({"profile": name, "api": api, "owner": owner, "file": path})),
    }
    Ok(())
}

pub(super) fn logout(target: &Target) -> Result<(), Failure> {
    let profiles = Profiles::load()?;
    let name = target.profile.clone().or_else(|| profiles.active.clone());
    let name = name.ok_or_else(|| Failure::NoSuchThing("no profile is in use".to_owned()))?;
    forget(profiles, &name, target.format)
}

pub(super) fn profile(target: &Target, command: Option<ProfileCommand>) -> Result<(), Failure> {
    let mut profiles = Profiles::load()?;
    match command {
        None | Some(ProfileCommand::List) => list(&profiles, target.format),
        Some(ProfileCommand::Use { name }) => {
            let api = profiles.named(&name)?.api.clone();
            profiles.active = Some(name.clone());
            profiles.save()?;
            match target.format {
                Format::Human => print::line(&format!("{name} is in use: {api}")),
                Format::Json => print::json(&json!({"profile": name, "api": api})),
            }
        }
        Some(ProfileCommand::Remove { name }) => return forget(profiles, &name, target.format),
    }
    Ok(())
}

fn forget(mut profiles: Profiles, name: &str, format: Format) -> Result<(), Failure> {
    profiles.forget(name)?;
    profiles.save()?;
    match format {
        Format::Human => {
            print::line(&format!("{name} is forgotten; its API token lives on until it is revoked"))
        }
        Format::Json => print::json(&json!({"profile": name, "state": "forgotten"})),
    }
    Ok(())
}

fn list(profiles: &Profiles, format: Format) {
    let in_use = |name: &str| profiles.active.as_deref() == Some(name);
    if format == Format::Json {
        let all = profiles.profiles.iter().map(|(name, profile)| {
            json!({"profile": name, "api": profile.api, "owner": profile.owner, "inUse": in_use(name)})
        });
        return print::json(&Value::Array(all.collect()));
    }
    if profiles.profiles.is_empty() {
        return print::line("no profile yet: `lacis ng login --help`");
    }
    let head = ["PROFILE", "CONTROL", "OWNER", "IN USE"].map(str::to_owned);
    let rows = profiles.profiles.iter().map(|(name, profile)| {
        let owner = profile.owner.clone().unwrap_or_default();
        let used = if in_use(name) { "yes" } else { "" };
        vec![name.clone(), profile.api.clone(), owner, used.to_owned()]
    });
    print::fitting(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>());
}

/// Who the API token is, and which names groups may have.
pub(super) async fn whoami(session: &Session) -> Result<(), Failure> {
    let me = session.client.get("/v2/self").await?;
    let configuration = session.client.get("/networkgroup/configuration").await?;
    let suffixes = &configuration["dnsSuffixes"];
    let names: Vec<&str> = suffixes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let name = me["name"].as_str().unwrap_or_default();
    let text = format!("owner     {} {name}\nsuffixes  {}", session.owner, names.join(", "));
    session.say(text.trim_end(), &json!({"owner": session.owner, "self": me, "dnsSuffixes": suffixes}));
    Ok(())
}
