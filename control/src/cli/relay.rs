//! `lacis-control relay`, a relay alone; `lacis-control relay-map`, what nodes are told of such relays.

use std::{fs, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use lacis_proto::{IdentityKey, PublicKey, RelayId, relay::RelayEntry};
use lacis_relay::{Limits, RelayKey, Settings};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Format, ask::ask, table};
use crate::{admin::Call, clock, relays};

#[derive(Debug, Args)]
pub(super) struct RelayArgs {
    /// The key of a control whose nodes may use this relay, as `lacis-control status` shows it; repeatable.
    #[arg(
        long = "control-key",
        env = "LACIS_RELAY_CONTROL_KEY",
        value_delimiter = ',',
        // One key of 64 begins with a hyphen.
        allow_hyphen_values = true,
        required = true,
        value_name = "KEY"
    )]
    control_keys: Vec<IdentityKey>,
    /// Where to take datagrams.
    #[arg(long, env = "LACIS_RELAY_LISTEN", default_value = "[::]:3478", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The file of this relay's key; made where there is none.
    #[arg(
        long,
        env = "LACIS_RELAY_KEY",
        default_value = "/var/lib/lacis-relay/relay.key",
        value_name = "FILE"
    )]
    key: PathBuf,
    /// Bytes per second that one member may send [default: no limit].
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    bytes_per_second: u64,
    /// Bytes per second that all members of a group may send together [default: no limit].
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    group_bytes_per_second: u64,
}

#[derive(Debug, Subcommand)]
pub(super) enum MapCommand {
    /// Tells nodes of a relay, or of its new addresses.
    Add {
        #[command(flatten)]
        common: Common,
        /// The relay's key, as it prints it at its start.
        #[arg(long)]
        key: PublicKey,
        /// Where it takes datagrams, as nodes reach it; repeatable.
        #[arg(long = "udp", required = true, value_delimiter = ',', value_name = "ADDR:PORT")]
        udp: Vec<SocketAddr>,
        /// What people call it.
        #[arg(long, default_value = "relay")]
        label: String,
    },
    /// Lists the relays that nodes are told of.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Tells nodes of a relay no more.
    Remove {
        #[command(flatten)]
        common: Common,
        /// Its id.
        id: RelayId,
    },
}

pub(super) async fn relay(args: RelayArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let limits = Limits {
        bytes_per_second: args.bytes_per_second,
        group_bytes_per_second: args.group_bytes_per_second,
        ..Limits::default()
    };
    let settings = Settings {
        key: key(&args.key)?,
        controls: args.control_keys,
        listen: args.listen,
        others: lacis_relay::beside(args.listen.port()),
        workers: None,
        limits,
    };
    let relay = lacis_relay::start(settings).context(
        "the relay does not start; stop what uses its port, or choose another with --listen ADDR:PORT",
    )?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "The relay is ready at UDP {}. Tell nodes of it, on the machine of control:\n\n  \
         lacis-control relay-map add --key {} --udp ADDR:{}\n",
        relay.addr(),
        relay.public(),
        relay.addr().port()
    )?;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    // Members go elsewhere while it still forwards what is on its way.
    relay.say_farewell();
    tokio::time::sleep(lacis_relay::COME_BACK).await;
    relay.stop();
    Ok(())
}

/// Reads the key, and makes it where there is none.
fn key(path: &PathBuf) -> anyhow::Result<RelayKey> {
    if path.exists() {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes =
            bytes.with_context(|| format!("{path:?} holds no key; remove it and a new one is made"))?;
        return Ok(RelayKey::new(bytes));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
    }
    let bytes = clock::random::<32>();
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| writeln!(file, "{}", STANDARD.encode(bytes)));
    written.with_context(|| format!("cannot write {path:?}; name another file with --key"))?;
    Ok(RelayKey::new(bytes))
}

pub(super) async fn map(command: MapCommand) -> anyhow::Result<()> {
    let (common, call) = match command {
        MapCommand::Add { common, key, udp, label } => {
            let entry =
                RelayEntry { id: relays::id_of(&key), label, key, stun: udp.clone(), udp, tls: Vec::new() };
            (common, Call::AddRelay { entry })
        }
        MapCommand::List { common } => (common, Call::ListRelays),
        MapCommand::Remove { common, id } => (common, Call::RemoveRelay { id }),
    };
    let relays: Vec<RelayEntry> = ask(&common.data, call).await?.value;
    let mut out = std::io::stdout();
    match common.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&relays)?)?,
        Format::Human => {
            let rows = relays.into_iter().map(|relay| {
                let udp: Vec<_> = relay.udp.iter().map(ToString::to_string).collect();
                [relay.id.to_string(), relay.label, udp.join(" ")]
            });
            let head = ["ID", "LABEL", "UDP"].map(str::to_owned);
            write!(out, "{}", table(std::iter::once(head).chain(rows)))?;
        }
    }
    Ok(())
}
