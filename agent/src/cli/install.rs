//! `lacis up --install`: the agent as a service of this host, under systemd.
//!
//! What is to be written and run is put together first ([`Installation`]), then printed (`--dry-run`), written
//! below another root (`--root`), or carried out. The units are those of `deploy/systemd`, with this program's
//! place and the arguments of the command in them.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Failure, print};
use crate::config::{SOCKET, STATE, UpArgs};

const SERVICE: &str = include_str!("../../../deploy/systemd/lacis.service");
const GUARD_SOCKET: &str = include_str!("../../../deploy/systemd/lacis-guard.socket");
const GUARD_SERVICE: &str = include_str!("../../../deploy/systemd/lacis-guard@.service");
const SYSUSERS: &str = include_str!("../../../deploy/systemd/lacis.sysusers");

/// The program in the units of `deploy/systemd`.
const PROGRAM: &str = "/usr/local/bin/lacis";

/// Where a package keeps units; the ones there are left as they are.
const PACKAGED: [&str; 2] = ["usr/lib/systemd/system/lacis.service", "lib/systemd/system/lacis.service"];

/// Files to write and commands to run, in this order.
#[derive(Debug, PartialEq, Eq)]
struct Installation {
    files: Vec<NewFile>,
    commands: Vec<Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
struct NewFile {
    /// Below the root.
    path: PathBuf,
    mode: u32,
    text: String,
}

pub(super) fn install(args: &UpArgs) -> Result<(), Failure> {
    if args.state != Path::new(STATE) || args.common.socket != Path::new(SOCKET) {
        let message = format!(
            "the service keeps its state in {STATE} and answers on {SOCKET}; leave out --state and --socket"
        );
        return Err(Failure::Failed(message));
    }
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    let token = args.join_token().map_err(|error| Failure::Failed(error.to_string()))?;
    let program = std::env::current_exe().map_err(|error| Failure::Failed(error.to_string()))?;
    let is_packaged = PACKAGED.iter().any(|unit| root.join(unit).exists());
    let installation = Installation::new(&Wish {
        program: &program.display().to_string(),
        arguments: &args.service_arguments(),
        token: token.as_ref().map(ToString::to_string).as_deref(),
        is_packaged,
        root: args.root.as_deref(),
    });
    if args.dry_run {
        installation.show(root);
        return Ok(());
    }
    installation.carry_out(root)?;
    print::line(match args.root {
        Some(_) => "installed there; it starts with that system",
        None => "installed and started; `lacis status` shows how it goes, `lacis logs` what it says",
    });
    Ok(())
}

/// What the command asks for.
struct Wish<'a> {
    program: &'a str,
    arguments: &'a [String],
    token: Option<&'a str>,
    is_packaged: bool,
    root: Option<&'a Path>,
}

impl Installation {
    fn new(wish: &Wish<'_>) -> Self {
        let file = |path: &str, mode, text: String| NewFile { path: path.into(), mode, text };
        let unit = |name: &str, text: &str| {
            file(&format!("etc/systemd/system/{name}"), 0o644, text.replace(PROGRAM, &quoted(wish.program)))
        };
        let mut files = Vec::new();
        if !wish.is_packaged {
            files.push(file("etc/sysusers.d/lacis.conf", 0o644, SYSUSERS.to_owned()));
            files.push(unit("lacis-guard.socket", GUARD_SOCKET));
            files.push(unit("lacis-guard@.service", GUARD_SERVICE));
            files.push(unit("lacis.service", SERVICE));
        }
        if !wish.arguments.is_empty() {
            let more: String =
                wish.arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
            let start = command_line(wish.program);
            let text = format!(
                "# Arguments of `lacis up --install`.\n[Service]\nExecStart=\nExecStart={start}{more}\n"
            );
            files.push(file("etc/systemd/system/lacis.service.d/arguments.conf", 0o644, text));
        }
        if let Some(token) = wish.token {
            files.push(file("etc/lacis/agent.env", 0o600, format!("LACIS_JOIN_TOKEN={token}\n")));
        }
        let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let units = ["lacis-guard.socket", "lacis.service"];
        let commands = match wish.root {
            Some(root) => {
                vec![
                    [line(&["systemctl", "--root", &root.display().to_string(), "enable"]), line(&units)]
                        .concat(),
                ]
            }
            None => vec![
                line(&["systemd-sysusers"]),
                line(&["systemctl", "daemon-reload"]),
                [line(&["systemctl", "enable", "--now"]), line(&units)].concat(),
            ],
        };
        Self { files, commands }
    }

    /// Says what would be done. The token is nobody's business.
    fn show(&self, root: &Path) {
        for file in &self.files {
            print::line(&format!("write {} ({:o})", root.join(&file.path).display(), file.mode));
            for line in file.text.lines().filter(|_| file.mode & 0o077 != 0) {
                print::line(&format!("  {line}"));
            }
        }
        for command in &self.commands {
            print::line(&format!("run {}", command.join(" ")));
        }
    }

    fn carry_out(&self, root: &Path) -> Result<(), Failure> {
        for file in &self.files {
            let path = root.join(&file.path);
            write(&path, file).map_err(|error| {
                Failure::Failed(format!(
                    "cannot write {path:?}: {error}; run it as root, or elsewhere with --root DIR"
                ))
            })?;
        }
        for words in &self.commands {
            let [program, arguments @ ..] = &words[..] else { continue };
            let said = |why: String| Failure::Failed(format!("`{}` failed: {why}", words.join(" ")));
            let output = Command::new(program).args(arguments).output();
            let output = output.map_err(|error| said(format!("{error}; is this host run by systemd?")))?;
            if !output.status.success() {
                return Err(said(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
        }
        Ok(())
    }
}

fn write(path: &Path, file: &NewFile) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        let mode = if file.mode & 0o077 == 0 { 0o700 } else { 0o755 };
        DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    }
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(file.mode).open(path)?;
    // Before anything secret is in it: the file may have stood there with another mode.
    fs::set_permissions(path, Permissions::from_mode(file.mode))?;
    open.write_all(file.text.as_bytes())
}

/// The command of the unit, with this program's place in it.
fn command_line(program: &str) -> String {
    let line = SERVICE.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default();
    line.replace(PROGRAM, &quoted(program))
}

/// An argument as a unit spells it (systemd.service(5), "Command lines").
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:=[]@+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    let mut text = String::from("\"");
    for character in argument.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' | '$' => text.extend([character, character]),
            control if control.is_control() => {}
            other => text.push(other),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>(arguments: &'a [String], token: Option<&'a str>, root: Option<&'a Path>) -> Wish<'a> {
        Wish { program: "/opt/la cis/lacis", arguments, token, is_packaged: false, root }
    }

    #[test]
    fn units_name_this_program_and_its_arguments() {
        let arguments = ["--name".to_owned(), "web 100%".to_owned()];
        let made = Installation::new(&wish(&arguments, None, None));
        let text = |path: &str| &made.files.iter().find(|file| file.path == Path::new(path)).unwrap().text;
        let service = text("etc/systemd/system/lacis.service");
        assert!(service.contains("ExecStart=\"/opt/la cis/lacis\" up --state /var/lib/lacis"), "{service}");
        let more = text("etc/systemd/system/lacis.service.d/arguments.conf");
        assert!(more.ends_with("--socket /run/lacis/agent.sock --name \"web 100%%\"\n"), "{more}");
        assert_eq!(
            made.commands.last().unwrap().join(" "),
            "systemctl enable --now lacis-guard.socket lacis.service"
        );
        assert!(made.files.iter().all(|file| file.path.is_relative()));
    }

    #[test]
    fn a_token_is_written_for_nobody_else_to_read() {
        let made = Installation::new(&wish(&[], Some("lacis_join_x"), None));
        let env = made.files.iter().find(|file| file.text.contains("lacis_join_x")).unwrap();
        assert_eq!((env.path.as_path(), env.mode), (Path::new("etc/lacis/agent.env"), 0o600));
    }

    #[test]
    fn units_of_a_package_are_left_alone() {
        let made = Installation::new(&Wish { is_packaged: true, ..wish(&[], Some("t"), None) });
        let paths: Vec<_> = made.files.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths, [Path::new("etc/lacis/agent.env")]);
    }

    #[test]
    fn another_root_gets_files_and_nothing_is_started() {
        let root = tempfile::tempdir().unwrap();
        let made = Installation::new(&wish(&[], Some("lacis_join_x"), Some(root.path())));
        assert_eq!(made.commands.len(), 1);
        assert_eq!(made.commands[0][1], "--root");
        let files = Installation { commands: Vec::new(), ..made };
        files.carry_out(root.path()).unwrap();
        let env = root.path().join("etc/lacis/agent.env");
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(env.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
