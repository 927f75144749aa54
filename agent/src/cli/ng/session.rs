//! What every verb needs: a client, the owner whose groups are meant, and how output looks.

use std::{path::Path, time::Duration};

use hyper::Method;
use lacis_proto::OwnerId;
use serde_json::Value;

use super::{
    Failure, print,
    profile::{Profile, Profiles},
};
use crate::{
    config::{
        Format,
        ng::{Target, Wait},
        proxy, token_text,
    },
    control::{Dialer, Trust},
    management::{Group, Management, Member, Peer, Receipt, in_query, one},
};

/// A control, an owner, a format.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Management,
    pub(super) owner: String,
    pub(super) format: Format,
}

/// Arguments, environment and profile together.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) profile: Profile,
    client: Management,
}

impl Access {
    /// Whom to talk to and with which rights: arguments and environment first, the profile for the rest.
    pub(super) fn of(target: &Target) -> Result<Self, Failure> {
        let known = Profiles::load()?;
        let mut profile = known.chosen(target.profile.as_deref())?.cloned().unwrap_or_default();
        if let Some(api) = &target.api {
            // The authority and the token of another control are of no use there.
            if *api != profile.api {
                profile = Profile::default();
            }
            profile.api.clone_from(api);
        }
        if let Some(path) = &target.ca {
            profile.ca = Some(read_ca(path)?);
        }
        let given = token_text(target.api_token.as_deref(), target.token_file.as_deref());
        if let Some(token) = given.map_err(|error| Failure::Usage(error.to_string()))? {
            token.trim().clone_into(&mut profile.token);
            profile.owner = None;
        }
        if let Some(owner) = &target.owner {
            profile.owner = Some(owner.clone());
        }
        let client = profile.client()?;
        Ok(Self { profile, client })
    }

    /// The owner that is meant, by id.
    pub(super) async fn owner(&self) -> Result<String, Failure> {
        match &self.profile.owner {
            Some(wanted) if OwnerId::parse(wanted).is_ok() => Ok(wanted.clone()),
            Some(wanted) => self.owner_called(wanted).await,
            None => {
                let me = self.client.get("/v2/self").await?;
                let id = me["id"].as_str().map(str::to_owned);
                id.ok_or_else(|| Failure::Usage("the API token names no owner; add --owner ID".to_owned()))
            }
        }
    }

    /// Whether the API token manages this owner's groups.
    pub(super) async fn reaches(&self, owner: &str) -> Result<(), Failure> {
        let path = format!("/v4/networkgroups/organisations/{owner}/networkgroups");
        self.client.get(&path).await?;
        Ok(())
    }

    async fn owner_called(&self, wanted: &str) -> Result<String, Failure> {
        let summary = self.client.get("/v2/summary").await?;
        let owners = summary["organisations"].as_array().into_iter().flatten().chain([&summary["user"]]);
        let called = owners.filter(|owner| owner["name"].as_str() == Some(wanted));
        let mut ids: Vec<&str> = called.filter_map(|owner| owner["id"].as_str()).collect();
        ids.dedup();
        match ids.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Failure::NoSuchThing(format!("this API token knows no owner called {wanted:?}"))),
            _ => Err(Failure::Usage(format!(
                "several owners are called {wanted:?}; use the id:\n  {}",
                ids.join("\n  ")
            ))),
        }
    }
}

impl Profile {
    fn client(&self) -> Result<Management, Failure> {
        if self.api.is_empty() {
            return Err(Failure::Usage(
                "which control? `lacis ng login --api https://HOST:8443 --ca ca.pem --api-token TOKEN` \
                 remembers it; or set LACIS_API, LACIS_CA and LACIS_API_TOKEN"
                    .to_owned(),
            ));
        }
        if !lacis_proto::JoinToken::is_url(&self.api) {
            return Err(Failure::Usage(format!(
                "{:?} is no address of control; write https://HOST:PORT",
                self.api
            )));
        }
        if self.token.is_empty() {
            return Err(Failure::NotAllowed(
                "an API token is needed: --api-token, --token-file or LACIS_API_TOKEN; \
                 `lacis-control api-token create` makes one"
                    .to_owned(),
            ));
        }
        if !self.token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::Usage("the API token holds characters that no token has".to_owned()));
        }
        let trust = match &self.ca {
            Some(pem) => Trust::with_authorities(pem.as_bytes()),
            None => Trust::new(&[]),
        };
        let trust = trust.map_err(|error| Failure::Usage(error.to_string()))?;
        let proxy = proxy().map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Management::new(self.api.clone(), Dialer::new(trust, proxy), &self.token))
    }
}

/// Largest file of certificate authorities: a whole system's bundle has 250 kB.
const MAX_CA: u64 = 1024 * 1024;

fn read_ca(path: &Path) -> Result<String, Failure> {
    let wrong =
        |why: String| Failure::Usage(format!("cannot read the certificate authority {path:?}: {why}"));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > MAX_CA {
        return Err(wrong("it is longer than 1 MiB".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))
}

impl Session {
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        let access = Access::of(target)?;
        let owner = access.owner().await?;
        Ok(Self { client: access.client, owner, format: target.format })
    }

    /// A path of this owner.
    pub(super) fn of_owner(&self, rest: &str) -> String {
        format!("/v4/networkgroups/organisations/{}/{rest}", self.owner)
    }

    /// The path of a group, and what is below it.
    pub(super) fn of_group(&self, group: &str, rest: &str) -> String {
        self.of_owner(&format!("networkgroups/{group}{rest}"))
    }

    /// Everything whose id or label contains this.
    pub(super) async fn search(&self, query: &str) -> Result<Value, Failure> {
        let path = self.of_owner(&format!("networkgroups/search?query={}", in_query(query)));
        Ok(self.client.get(&path).await?)
    }

    /// The group that a name means, with its members and peers.
    pub(super) async fn group(&self, wanted: &str) -> Result<Group, Failure> {
        self.group_value(wanted).await.map(|(group, _)| group)
    }

    /// The same, and the answer as it came.
    pub(super) async fn group_value(&self, wanted: &str) -> Result<(Group, Value), Failure> {
        let id = if lacis_proto::GroupId::parse(wanted).is_ok() {
            wanted.to_owned()
        } else {
            let found = self.search(wanted).await?;
            let groups = found.as_array().into_iter().flatten();
            let groups: Result<Vec<Group>, _> = groups
                .filter(|thing| thing["type"] == "NetworkGroup")
                .map(|it| self.client.read(it))
                .collect();
            one("group", &groups?, wanted)?.id.clone()
        };
        let value = self.client.get(&self.of_group(&id, "")).await?;
        Ok((self.client.read(&value)?, value))
    }

    /// Changes something, and says what came of it.
    ///
    /// With `--wait` the answer comes when the nodes have applied the change; those that have not make the
    /// command fail with "not in time", after everything has been printed.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait: Wait,
    ) -> Result<Written, Failure> {
        let (path, extra) = match wait.wait {
            Some(seconds) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                (format!("{path}{mark}wait={seconds}"), Duration::from_secs(seconds))
            }
            None => (path.to_owned(), Duration::ZERO),
        };
        let answer = self.client.call(&method, &path, body, extra).await?;
        Ok(Written { answer, wait })
    }

    /// Deletes something, by force even the last gateway that plain clients come in by.
    pub(super) async fn remove(&self, path: &str, force: bool, wait: Wait) -> Result<Written, Failure> {
        let path = if force { format!("{path}?force=true") } else { path.to_owned() };
        self.write(Method::DELETE, &path, None, wait).await
    }

    /// One line for people, or one value for programs.
    pub(super) fn say(&self, text: &str, value: &Value) {
        match self.format {
            Format::Human => print::line(text),
            Format::Json => print::json(value),
        }
    }
}

/// What came of a change.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) answer: Value,
    wait: Wait,
}

impl Written {
    /// Fails where nodes have not applied the change in the time that was asked for.
    pub(super) fn applied(&self, session: &Session) -> Result<(), Failure> {
        let Some(seconds) = self.wait.wait else { return Ok(()) };
        // What was deleted has no object beside its receipt.
        let receipt = self.answer.get("receipt").unwrap_or(&self.answer);
        let receipt: Receipt = session.client.read(receipt)?;
        if receipt.complete {
            return Ok(());
        }
        Err(Failure::NotInTime(format!("{receipt} after {seconds} s")))
    }
}

impl Group {
    /// The member that a name means.
    pub(super) fn member(&self, wanted: &str) -> Result<&Member, Failure> {
        if let Some(member) = self.members.iter().find(|member| member.domain_name == wanted) {
            return Ok(member);
        }
        Ok(one("member", &self.members, wanted)?)
    }

    /// The peer that a name means.
    pub(super) fn peer(&self, wanted: &str) -> Result<&Peer, Failure> {
        Ok(one("peer", &self.peers, wanted)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_certificate_authority_is_not_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_CA).unwrap();
        assert!(read_ca(file.path()).is_ok(), "its content is looked at elsewhere");
        file.as_file().set_len(MAX_CA + 1).unwrap();
        let refused = read_ca(file.path()).unwrap_err();
        assert!(matches!(refused, Failure::Usage(why) if why.ends_with("longer than 1 MiB")));
    }
}
