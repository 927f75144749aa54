//! The text of `/etc/resolv.conf` while the agent manages it.
//!
//! ```text
//! #lacis# managed by process 4711 while the agent runs, and restored when it ends
//! #lacis# link ../run/resolvconf/resolv.conf         where the file was a symbolic link
//! nameserver 10.128.0.1
//! #lacis# end
//! #lacis# was: nameserver 192.168.1.1                former name servers, now the agent's upstream
//! search example.org                                 everything else stays in force
//! ```
//! The file carries all that is needed to restore it, so that no copy can be lost or grow old. Invariants:
//! restoring what [`managed`] made gives the former text byte for byte; lines that somebody adds or changes
//! outside of the block are kept; a file without the block is somebody else's and is left alone.

use std::net::IpAddr;

const BEGIN: &str = "#lacis# managed by process ";
const BEGIN_REST: &str = " while the agent runs, and restored when it ends";
const LINK: &str = "#lacis# link ";
const MISSING: &str = "#lacis# missing";
const END: &str = "#lacis# end";
const WAS: &str = "#lacis# was: ";

/// Most name servers that a resolver looks at (resolv.conf(5), `MAXNS`).
pub const MAX_SERVERS: usize = 3;

/// What stood at the file's place before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Former {
    /// A file with this text.
    Text(String),
    /// A symbolic link, and the text that it led to.
    Link {
        /// Where it led.
        target: String,
        /// The text there, as it was.
        text: String,
    },
    /// Nothing.
    Missing,
}

impl Former {
    /// The text in force before.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Link { text, .. } => text,
            Self::Missing => "",
        }
    }
}

/// The text that names `servers` first and only, made by the process `pid`.
#[must_use]
pub fn managed(former: &Former, servers: &[IpAddr], pid: u32) -> String {
    let mut text = format!("{BEGIN}{pid}{BEGIN_REST}\n");
    match former {
        Former::Text(_) => {}
        Former::Link { target, .. } => text += &format!("{LINK}{target}\n"),
        Former::Missing => text += &format!("{MISSING}\n"),
    }
    for server in servers.iter().take(MAX_SERVERS) {
        text += &format!("nameserver {server}\n");
    }
    text += &format!("{END}\n");
    for line in former.text().split_inclusive('\n') {
        if server_of(line).is_some() {
            text += WAS;
        }
        text += line;
    }
    text
}

/// What stood there before, with what others have changed since; `None` where the text is not ours.
#[must_use]
pub fn restored(text: &str) -> Option<Former> {
    let (mut inside, mut found) = (false, false);
    let (mut target, mut missing, mut rest) = (None, false, String::new());
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare.starts_with(BEGIN) {
            (inside, found) = (true, true);
        } else if inside {
            inside = bare != END;
            missing |= bare == MISSING;
            target = bare.strip_prefix(LINK).map(str::to_owned).or(target);
        } else {
            rest += line.strip_prefix(WAS).unwrap_or(line);
        }
    }
    // A block without an end is not one that we wrote as it stands.
    if !found || inside {
        return None;
    }
    Some(match target {
        Some(target) => Former::Link { target, text: rest },
        None if missing && rest.is_empty() => Former::Missing,
        None => Former::Text(rest),
    })
}

/// The process that manages the file, where one does.
#[must_use]
pub fn manager(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(BEGIN))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Name servers of a text that is not ours, as written: a scope may follow a `%`.
pub fn name_servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(server_of).take(MAX_SERVERS)
}

fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}
