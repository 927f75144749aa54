//! What stands on the command line.

use std::ffi::OsString;

use crate::offloads::Offloads;
use crate::start::Shards;
use crate::tunnel::Core;

/// A command line understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    Help,
    Version,
    Run { name: String, mode: Mode, carriers: Carriers },
}

/// What carries the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carriers {
    pub(super) core: Core,
    pub(super) shards: Shards,
    pub(super) offloads: Offloads,
}

/// How to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Foreground,
    /// Start a detached copy and end once that is ready.
    Background,
    /// Be that copy.
    Detached,
}

/// The option by which the detached copy knows itself. Not for people.
pub(super) const DETACHED: &str = "--detached";

/// The option that chooses what carries the tunnels.
pub(super) const CORE: &str = "--core";

/// The option that chooses how many threads do.
pub(super) const SHARDS: &str = "--shards";

/// The option that turns offloads of the kernel off.
pub(super) const WITHOUT: &str = "--without";

/// A command line that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("unknown option {option:?}; try --help")]
    Option { option: String },
    #[error("name one interface; try --help")]
    Name,
    #[error("--core takes own or boringtun; try --help")]
    Core,
    #[error("--shards takes auto, or a number from 1 to 16; try --help")]
    Shards,
    #[error("--without takes a list of reads, sends, receives and writes, with commas between; try --help")]
    Without,
}

impl Arguments {
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, ArgumentError> {
        let (mut name, mut mode, mut carriers) = (None, Mode::Background, Carriers::default());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.to_str().ok_or(ArgumentError::Name)? {
                "-h" | "--help" => return Ok(Self::Help),
                "-V" | "--version" => return Ok(Self::Version),
                "-f" | "--foreground" => mode = Mode::Foreground,
                DETACHED => mode = Mode::Detached,
                CORE => {
                    let named = arguments.next().and_then(|text| text.to_str());
                    carriers.core = named.and_then(Core::named).ok_or(ArgumentError::Core)?;
                }
                SHARDS => {
                    let number = arguments.next().and_then(|text| text.to_str());
                    carriers.shards = number.and_then(Shards::parse).ok_or(ArgumentError::Shards)?;
                }
                WITHOUT => {
                    let list = arguments.next().and_then(|text| text.to_str());
                    carriers.offloads = list.and_then(Offloads::without).ok_or(ArgumentError::Without)?;
                }
                option if option.starts_with('-') => {
                    return Err(ArgumentError::Option { option: option.to_owned() });
                }
                text if name.is_none() => name = Some(text.to_owned()),
                _ => return Err(ArgumentError::Name),
            }
        }
        Ok(Self::Run { name: name.ok_or(ArgumentError::Name)?, mode, carriers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Arguments, ArgumentError>) {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        assert_eq!(Arguments::parse(&words), expected, "{line}");
    }

    fn run(mode: Mode) -> Result<Arguments, ArgumentError> {
        Ok(Arguments::Run { name: String::from("wg0"), mode, carriers: Carriers::default() })
    }

    #[test]
    fn the_command_line_is_that_of_wireguard_go() {
        check("wg0", run(Mode::Background));
        check("-f wg0", run(Mode::Foreground));
        check("--foreground wg0", run(Mode::Foreground));
        check("wg0 -f", run(Mode::Foreground));
        check("--detached wg0", run(Mode::Detached));
        check("--help", Ok(Arguments::Help));
        check("-f --version", Ok(Arguments::Version));
        for (name, core) in [("own", Core::Own), ("boringtun", Core::Boringtun)] {
            let offloads = Offloads { segmented_sends: false, ..Offloads::default() };
            let carriers = Carriers { core, shards: Shards::Exactly(2), offloads };
            let run = Arguments::Run { name: String::from("wg0"), mode: Mode::Foreground, carriers };
            check(&format!("--core {name} --shards 2 --without sends -f wg0"), Ok(run));
        }
        check("wg0 --core", Err(ArgumentError::Core));
        check("--core wg0", Err(ArgumentError::Core));
        check("--shards 0 wg0", Err(ArgumentError::Shards));
        check("wg0 --shards", Err(ArgumentError::Shards));
        check("--without speed wg0", Err(ArgumentError::Without));
        check("", Err(ArgumentError::Name));
        check("wg0 wg1", Err(ArgumentError::Name));
        check("-x wg0", Err(ArgumentError::Option { option: String::from("-x") }));
    }
}
