//! Completion: the script of a shell, and the names that are there right now.
//!
//! The script asks `lacis` itself for every candidate, so that it never falls behind the program. Names
//! come from the control that the environment or the profile in use points to, within a moment; when it
//! does not answer there are none, and nothing is said.

use std::{ffi::OsStr, io::Write as _, time::Duration};

use clap::CommandFactory as _;
use clap_complete::{CompleteEnv, Shell, engine::CompletionCandidate, env::Shells};
use serde_json::Value;

use super::{Failure, profile::Profiles, session::Session};
use crate::config::{
    Cli,
    ng::{NgArgs, Target},
};

/// The variable by which a shell asks for candidates.
const ASKED: &str = "LACIS_COMPLETE";

/// A person waits for the next letter: longer than this and nothing is better.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Answers a shell that asks for candidates, and ends. Returns where this is no such question.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command).var(ASKED).complete();
}

/// Prints the script of a shell.
pub(in crate::cli) fn script(shell: Shell) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let shell = shells.completer(&name);
    let shell = shell.ok_or_else(|| Failure::Usage(format!("there is no completion for {name}")))?;
    let mut text = Vec::new();
    let written = shell.write_registration(ASKED, "lacis", "lacis", "lacis", &mut text);
    let written = written.and_then(|()| std::io::stdout().lock().write_all(&text));
    written.map_err(|error| Failure::Failed(format!("cannot print: {error}")))
}

/// Labels and ids of groups.
#[must_use]
pub fn groups(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, |groups| groups.iter().collect())
}

/// Labels and ids of members, in all groups.
#[must_use]
pub fn members(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, |groups| inside(groups, "members"))
}

/// Labels and ids of peers, in all groups.
#[must_use]
pub fn peers(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, |groups| inside(groups, "peers"))
}

/// Labels and ids of groups, members and peers.
#[must_use]
pub fn anything(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, |groups| {
        groups.iter().chain(inside(groups, "members")).chain(inside(groups, "peers")).collect()
    })
}

/// Labels and ids of nodes.
#[must_use]
pub fn nodes(current: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = ask("nodes");
    candidates(current, nodes.iter().collect())
}

/// Names of profiles.
#[must_use]
pub fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let profiles = Profiles::load().map(|profiles| profiles.profiles).unwrap_or_default();
    let begun = current.to_string_lossy();
    let fitting = profiles.into_iter().filter(|(name, _)| name.starts_with(&*begun));
    fitting.map(|(name, profile)| CompletionCandidate::new(name).help(Some(profile.api.into()))).collect()
}

fn inside<'a>(groups: &'a [Value], what: &str) -> Vec<&'a Value> {
    groups.iter().filter_map(|group| group[what].as_array()).flatten().collect()
}

fn names(current: &OsStr, pick: impl Fn(&[Value]) -> Vec<&Value>) -> Vec<CompletionCandidate> {
    let groups = ask("networkgroups");
    candidates(current, pick(&groups))
}

/// Labels where what is there so far begins one, else ids.
fn candidates(current: &OsStr, things: Vec<&Value>) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let field = |thing: &Value, name: &str| thing[name].as_str().unwrap_or_default().to_owned();
    let fitting = |name: &str, other: &str| -> Vec<CompletionCandidate> {
        let pairs = things.iter().map(|thing| (field(thing, name), field(thing, other)));
        let pairs = pairs.filter(|(value, _)| !value.is_empty() && value.starts_with(&*begun));
        pairs.map(|(value, help)| CompletionCandidate::new(value).help(Some(help.into()))).collect()
    };
    let labels = fitting("label", "id");
    if labels.is_empty() { fitting("id", "label") } else { labels }
}

/// What control lists for this owner, or nothing.
fn ask(what: &str) -> Vec<Value> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let answer = async {
        let session = Session::open(&from_environment()?).await.ok()?;
        session.client.get(&session.of_owner(what)).await.ok()
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await.ok().flatten() });
    match answer {
        Some(Value::Array(all)) => all,
        Some(_) | None => Vec::new(),
    }
}

/// The control that the environment points to: completion does not see the options of the line.
fn from_environment() -> Option<Target> {
    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        ng: NgArgs,
    }
    let alone = <Alone as clap::Parser>::try_parse_from(["ng"]).ok()?;
    Some(alone.ng.target)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offered(begun: &str) -> Vec<String> {
        let things = [json!({"id": "ng_1", "label": "shop"}), json!({"id": "ng_2", "label": "stage"})];
        let found = candidates(OsStr::new(begun), things.iter().collect());
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn labels_are_offered_and_ids_to_those_who_begin_one() {
        assert_eq!(offered(""), ["shop", "stage"]);
        assert_eq!(offered("st"), ["stage"]);
        assert_eq!(offered("ng_"), ["ng_1", "ng_2"]);
        assert!(offered("x").is_empty());
    }
}
