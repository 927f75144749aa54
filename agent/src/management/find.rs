//! What a person means by a name: an id, else a label, else a label in other letters.

use std::fmt;

/// How a thing is called.
pub(crate) trait Named {
    /// Its id.
    fn id(&self) -> &str;
    /// What people call it.
    fn label(&self) -> &str;
}

/// A name that is not exactly one thing's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOne {
    /// Nothing has it; these contain it.
    None { what: &'static str, wanted: String, near: Vec<String> },
    /// Several have it.
    Several { what: &'static str, wanted: String, candidates: Vec<String> },
}

/// Most candidates that are listed.
const MOST: usize = 10;

/// The one thing that a name means.
pub(crate) fn one<'a, T: Named>(what: &'static str, all: &'a [T], wanted: &str) -> Result<&'a T, NotOne> {
    let lower = wanted.to_lowercase();
    let by_id = |thing: &T| thing.id() == wanted;
    let by_label = |thing: &T| thing.label() == wanted;
    let by_letters = |thing: &T| thing.label().to_lowercase() == lower;
    let meanings: [&dyn Fn(&T) -> bool; 3] = [&by_id, &by_label, &by_letters];
    for meaning in meanings {
        let mut found = all.iter().filter(|thing| meaning(thing));
        match (found.next(), found.next()) {
            (Some(only), None) => return Ok(only),
            (Some(_), Some(_)) => {
                let candidates = list(all.iter().filter(|thing| meaning(thing)));
                return Err(NotOne::Several { what, wanted: wanted.to_owned(), candidates });
            }
            (None, _) => {}
        }
    }
    let near = |thing: &&T| thing.id().contains(&lower) || thing.label().to_lowercase().contains(&lower);
    let near = if lower.is_empty() { Vec::new() } else { list(all.iter().filter(near)) };
    Err(NotOne::None { what, wanted: wanted.to_owned(), near })
}

fn list<'a, T: Named + 'a>(things: impl Iterator<Item = &'a T>) -> Vec<String> {
    things.take(MOST).map(|thing| format!("{} ({})", thing.id(), thing.label())).collect()
}

impl fmt::Display for NotOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lead, candidates) = match self {
            Self::None { what, wanted, near } if near.is_empty() => {
                return write!(f, "there is no {what} {wanted:?}");
            }
            Self::None { what, wanted, near } => (format!("there is no {what} {wanted:?}; there are"), near),
            Self::Several { what, wanted, candidates } => {
                (format!("{wanted:?} is the label of more than one {what}; use the id"), candidates)
            }
        };
        write!(f, "{lead}:\n  {}", candidates.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(&'static str, &'static str);

    impl Named for Thing {
        fn id(&self) -> &str {
            self.0
        }
        fn label(&self) -> &str {
            self.1
        }
    }

    const THINGS: [Thing; 4] =
        [Thing("app_1", "web"), Thing("app_2", "Web"), Thing("app_3", "db"), Thing("db", "twin")];

    #[track_caller]
    fn check(wanted: &str, expected: Result<&str, &str>) {
        let found = one("member", &THINGS, wanted).map(|thing| thing.0).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn ids_win_over_labels_and_exact_letters_over_others() {
        check("app_1", Ok("app_1"));
        check("web", Ok("app_1"));
        check("Web", Ok("app_2"));
        check("db", Ok("db"));
        check("DB", Ok("app_3"));
    }

    #[test]
    fn a_label_of_several_lists_them_and_an_unknown_one_what_is_near() {
        check(
            "WEB",
            Err("\"WEB\" is the label of more than one member; use the id:\n  app_1 (web)\n  app_2 (Web)"),
        );
        check("tw", Err("there is no member \"tw\"; there are:\n  db (twin)"));
        check("nobody", Err("there is no member \"nobody\""));
        check("", Err("there is no member \"\""));
    }
}
