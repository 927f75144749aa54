//! `lacis-control relay`, a relay alone; `lacis-control relay-map`, what nodes are told of such relays.

use std::{io::Write as _, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use lacis_proto::{
    IdentityKey, Pin, PublicKey, RelayId,
    relay::{RelayEntry, TLS_PATH},
};
use lacis_relay::{CLASSES, ClassRate, Limits};

use super::{Common, Format, ask::ask, service::Service, table};
use crate::{
    admin::Call,
    hosts, relays,
    standalone::{self, Given, Standalone, TlsListen},
};

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
    /// Where to take members whose networks let no datagrams out, as a WebSocket over TLS [default: every address of
    /// the host, port 8443].
    #[arg(long, env = "LACIS_RELAY_TLS_LISTEN", value_name = "ADDR:PORT", conflicts_with = "no_tls")]
    tls_listen: Option<SocketAddr>,
    /// Take datagrams alone.
    #[arg(long, env = "LACIS_RELAY_NO_TLS", value_parser = clap::builder::FalseyValueParser::new())]
    no_tls: bool,
    /// The certificate and those between it and its authority, in PEM; read again every hour [default: one that the
    /// relay makes itself, which nodes check by its pin].
    #[arg(long, env = "LACIS_RELAY_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, env = "LACIS_RELAY_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Offer /metrics, /healthz and /readyz on this address, over plain HTTP.
    #[arg(long, env = "LACIS_RELAY_METRICS", value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// The folder of what it keeps: its key, its certificate authority, and members that were put out.
    #[arg(
        long,
        visible_alias = "data",
        env = "LACIS_RELAY_STATE",
        default_value = "/var/lib/lacis-relay",
        value_name = "DIR"
    )]
    state: PathBuf,
    /// The file of this relay's key, made where there is none [default: relay.key in that folder].
    #[arg(long, env = "LACIS_RELAY_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Bytes per second that one member may send [default: no limit].
    #[arg(long, env = "LACIS_RELAY_BYTES_PER_SECOND", default_value_t = 0, value_name = "BYTES")]
    bytes_per_second: u64,
    /// Bytes per second that all members of a group may send together [default: no limit].
    #[arg(long, env = "LACIS_RELAY_GROUP_BYTES_PER_SECOND", default_value_t = 0, value_name = "BYTES")]
    group_bytes_per_second: u64,
    /// The same for members whose control gives them a rate class, 1 to 7, for one and for all of a group; repeatable
    /// [default: as for everybody].
    #[arg(
        long = "class",
        env = "LACIS_RELAY_CLASS",
        value_delimiter = ',',
        value_parser = class,
        value_name = "CLASS=BYTES:GROUP_BYTES"
    )]
    classes: Vec<(u8, ClassRate)>,
}

/// A rate class and what it stands for.
fn class(text: &str) -> Result<(u8, ClassRate), String> {
    let parts = text.split_once('=').and_then(|(class, rates)| {
        let (own, group) = rates.split_once(':').unwrap_or((rates, "0"));
        Some((class.parse().ok()?, own.parse().ok()?, group.parse().ok()?))
    });
    let Some((class @ 1.., bytes_per_second, group_bytes_per_second)) = parts else {
        return Err("write CLASS=BYTES or CLASS=BYTES:GROUP_BYTES, as 1=12500000:125000000".to_owned());
    };
    if usize::from(class) > CLASSES {
        return Err(format!("{CLASSES} is the last class"));
    }
    Ok((class, ClassRate { bytes_per_second, group_bytes_per_second }))
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
        /// Where it takes a WebSocket over TLS, wss://HOST:PORT, as nodes reach it; repeatable.
        #[arg(long = "tls", value_delimiter = ',', value_parser = websocket_url, value_name = "URL")]
        tls: Vec<String>,
        /// The pin of its certificate authority, as it prints it at its start; not for a certificate that was given to it.
        #[arg(
            long = "tls-pin",
            value_delimiter = ',',
            allow_hyphen_values = true,
            requires = "tls",
            value_name = "PIN"
        )]
        pins: Vec<Pin>,
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

/// The address of a relay's WebSocket, whose path is always the same.
fn websocket_url(text: &str) -> Result<String, String> {
    let authority = text.strip_prefix("wss://").unwrap_or_default();
    let authority = authority.strip_suffix(TLS_PATH).unwrap_or(authority).trim_end_matches('/');
    if let Err(error) = hosts::check_public_urls(&[format!("https://{authority}")]) {
        return Err(format!(
            "{}; write wss://HOST:PORT, {TLS_PATH} behind it goes without saying",
            error.reason
        ));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(format!("wss://{authority}{}{TLS_PATH}", if has_port { "" } else { ":443" }))
}

pub(super) async fn relay(args: RelayArgs) -> anyhow::Result<()> {
    let service = Service::new()?;
    crate::limits::raise_descriptors();
    let mut limits = Limits {
        bytes_per_second: args.bytes_per_second,
        group_bytes_per_second: args.group_bytes_per_second,
        ..Limits::default()
    };
    for (class, rate) in args.classes {
        limits.classes[usize::from(class) - 1] = Some(rate);
    }
    let given = args.tls_certificate.zip(args.tls_key);
    let relay = standalone::start(standalone::Settings {
        state: args.state,
        key: args.key,
        controls: args.control_keys,
        listen: args.listen,
        tls: match args.tls_listen {
            Some(addr) => TlsListen::At(addr),
            None if args.no_tls => TlsListen::Off,
            None => TlsListen::Default,
        },
        given: given.map(|(certificate, key)| Given { certificate, key }),
        metrics: args.metrics,
        limits,
    })
    .await?;
    announce(&relay).context("cannot print")?;
    service.until_told_to_end().await;
    relay.shutdown().await;
    Ok(())
}

/// Says how nodes are told of it.
fn announce(relay: &Standalone) -> std::io::Result<()> {
    let mut tell = format!("--key {} --udp ADDR:{}", relay.public(), relay.addr().port());
    if let Some((addr, pin)) = relay.tls() {
        tell.push_str(&format!(" --tls wss://ADDR:{}", addr.port()));
        if let Some(pin) = pin {
            tell.push_str(&format!(" --tls-pin {pin}"));
        }
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "The relay is ready at UDP {}. Tell nodes of it, on the machine of control:\n\n  \
         lacis-control relay-map add {tell}\n",
        relay.addr()
    )?;
    if let Some(addr) = relay.metrics {
        writeln!(out, "Figures are at http://{addr}/metrics.\n")?;
    }
    out.flush()
}

pub(super) async fn map(command: MapCommand) -> anyhow::Result<()> {
    let (common, call) = match command {
        MapCommand::Add { common, key, udp, tls, pins, label } => {
            let (id, stun) = (relays::id_of(&key), udp.clone());
            let entry = RelayEntry { id, label, key, stun, udp, tls, pins };
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
                [relay.id.to_string(), relay.label, udp.join(" "), relay.tls.join(" ")]
            });
            let head = ["ID", "LABEL", "UDP", "TLS"].map(str::to_owned);
            write!(out, "{}", table(std::iter::once(head).chain(rows)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_address_of_a_websocket_is_made_whole() {
        for (text, whole) in [
            ("wss://relay.example", "wss://relay.example:443/relay/v1"),
            ("wss://relay.example:8443/relay/v1", "wss://relay.example:8443/relay/v1"),
            ("wss://[2001:db8::1]/", "wss://[2001:db8::1]:443/relay/v1"),
            ("wss://192.0.2.1:1", "wss://192.0.2.1:1/relay/v1"),
        ] {
            assert_eq!(websocket_url(text).as_deref(), Ok(whole));
        }
        for text in [
            "",
            "relay.example",
            "https://relay.example",
            "wss://",
            "wss://a/other",
            "wss://u@a",
            "wss://a b",
        ] {
            assert!(websocket_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn classes_are_told_with_one_rate_or_two() {
        let rate =
            |bytes_per_second, group_bytes_per_second| ClassRate { bytes_per_second, group_bytes_per_second };
        assert_eq!(class("1=100:200"), Ok((1, rate(100, 200))));
        assert_eq!(class("7=100"), Ok((7, rate(100, 0))));
        for text in ["", "1", "0=1", "8=1", "x=1", "1=x", "1=1:x", "1=-1"] {
            assert!(class(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_may_begin_with_a_hyphen() {
        // One key of 64 does, in URL-safe base64.
        let [identity, pin] = [
            IdentityKey::try_new([0xF8; 32]).unwrap().to_string(),
            Pin::try_new([0xFB; 32]).unwrap().to_string(),
        ];
        assert!(identity.starts_with('-') && pin.starts_with('-'), "{identity} {pin}");
        let key = PublicKey::try_new([0xF8; 32]).unwrap().to_string();
        for line in [
            vec!["relay", "--control-key", &identity],
            vec!["relay", "--control-key", &identity, "--control-key", &identity, "--no-tls"],
            vec![
                "relay-map",
                "add",
                "--key",
                &key,
                "--udp",
                "192.0.2.1:1",
                "--tls",
                "wss://a",
                "--tls-pin",
                &pin,
            ],
        ] {
            let line = std::iter::once("lacis-control").chain(line);
            if let Err(error) = Cli::try_parse_from(line) {
                panic!("{error}")
            }
        }
    }
}
