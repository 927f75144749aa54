//! Profiles: which control, its certificate authority, the API token and the owner, remembered for this
//! user.
//!
//! ```json
//! {"format":1,"active":"default","profiles":{"default":{"api":"https://…","ca":"-----BEGIN…","token":"…","owner":"orga_…"}}}
//! ```
//! The file is 0600 in a folder that is 0700, and is replaced as a whole.

use std::{collections::BTreeMap, fs, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Failure, output::write_private};
use crate::config::profiles_path;

/// The format of the file; a newer one is refused rather than guessed at.
const FORMAT: u32 = 1;

/// One control, as whom, and whose groups.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) api: String,
    /// The certificate authority itself, so that the file it came from may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<String>,
    pub(super) token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("api", &self.api).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// All profiles of this user.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Profiles {
    format: u32,
    pub(super) active: Option<String>,
    pub(super) profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// What this user has; nothing where there is no file.
    pub(super) fn load() -> Result<Self, Failure> {
        let none = Self { format: FORMAT, active: None, profiles: BTreeMap::new() };
        let Some(path) = profiles_path() else { return Ok(none) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(none),
            Err(error) => return Err(Failure::Failed(format!("cannot read profiles in {path:?}: {error}"))),
        };
        Self::parse(&text).map_err(|what| {
            Failure::Failed(format!("profiles in {path:?} {what}; remove the file and log in again"))
        })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let profiles: Self = serde_json::from_str(text).map_err(|_| "are damaged")?;
        if profiles.format > FORMAT {
            return Err("were written by a newer lacis");
        }
        Ok(profiles)
    }

    /// The profile with this name, or the one in use; `None` where none is in use.
    pub(super) fn chosen(&self, name: Option<&str>) -> Result<Option<&Profile>, Failure> {
        match name {
            Some(name) => self.named(name).map(Some),
            None => Ok(self.active.as_ref().and_then(|name| self.profiles.get(name))),
        }
    }

    pub(super) fn named(&self, name: &str) -> Result<&Profile, Failure> {
        self.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::NoSuchThing(format!("there is no profile {name:?}; known: {known}"))
        })
    }

    /// Keeps a profile and uses it from now on.
    pub(super) fn keep(&mut self, name: &str, profile: Profile) {
        self.profiles.insert(name.to_owned(), profile);
        self.active = Some(name.to_owned());
    }

    /// Forgets a profile; another one is in use only when somebody says so.
    pub(super) fn forget(&mut self, name: &str) -> Result<(), Failure> {
        self.named(name)?;
        self.profiles.remove(name);
        self.active.take_if(|active| active == name);
        Ok(())
    }

    /// Writes the file, and says where.
    pub(super) fn save(&self) -> Result<PathBuf, Failure> {
        let path = profiles_path().ok_or_else(|| {
            Failure::Failed("there is no place for profiles: set HOME or XDG_CONFIG_HOME".to_owned())
        })?;
        let folder = path.parent().expect("the path ends in a file");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::Failed(format!("cannot make {folder:?}: {error}")))?;
        let text = serde_json::to_string_pretty(self).expect("profiles have a JSON form");
        write_private(&path, format!("{text}\n").as_bytes())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(api: &str) -> Profile {
        Profile { api: api.to_owned(), token: "secret".to_owned(), ..Profile::default() }
    }

    #[test]
    fn the_last_one_kept_is_used_until_it_is_forgotten() {
        let mut profiles = Profiles { format: FORMAT, active: None, profiles: BTreeMap::new() };
        assert!(profiles.chosen(None).unwrap().is_none());
        profiles.keep("one", profile("https://one"));
        profiles.keep("two", profile("https://two"));
        assert_eq!(profiles.chosen(None).unwrap().unwrap().api, "https://two");
        assert_eq!(profiles.chosen(Some("one")).unwrap().unwrap().api, "https://one");
        profiles.forget("two").unwrap();
        assert!(profiles.chosen(None).unwrap().is_none());
        let unknown = profiles.chosen(Some("two")).unwrap_err().to_string();
        assert_eq!(unknown, "there is no profile \"two\"; known: one");
    }

    #[test]
    fn a_newer_file_and_a_damaged_one_are_refused() {
        assert!(Profiles::parse(r#"{"format":1,"active":null,"profiles":{}}"#).is_ok());
        assert_eq!(Profiles::parse("{").unwrap_err(), "are damaged");
        let newer = r#"{"format":2,"active":null,"profiles":{}}"#;
        assert_eq!(Profiles::parse(newer).unwrap_err(), "were written by a newer lacis");
    }

    #[test]
    fn a_profile_in_a_log_shows_no_secret() {
        assert!(!format!("{:?}", profile("https://one")).contains("secret"));
    }
}
