//! `lacis-control serve`.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::{Format, ServeArgs, service::Service};
use crate::{Config, Keep, Ready, RelayListen, config, serve as start};

/// The one line that `--format json` prints.
#[derive(Serialize)]
struct ReadyLine<'a> {
    event: &'static str,
    api: &'a str,
    ca: String,
    owner: String,
    group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_token: Option<&'a str>,
}

pub(super) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let service = Service::new()?;
    let data = std::path::absolute(&args.common.data).context("cannot find the data folder")?;
    crate::limits::raise_descriptors();
    let config = Config {
        listen: args.listen,
        public_urls: args.public_urls,
        metrics: args.metrics,
        relay: match args.relay_listen {
            Some(addr) => RelayListen::At(addr),
            None if args.no_relay => RelayListen::Off,
            None => RelayListen::Default,
        },
        relay_class: args.relay_class,
        suffixes: args.suffixes,
        consumers: args.consumers,
        limits: !args.no_limits,
        keep: Keep { audit: args.keep_audit.0, ended: args.keep_ended.0 },
        ..Config::new(data)
    };
    let running = start(config).await?;
    announce(&running.ready, args.common.format).context("cannot print")?;
    tracing::info!(addr = %running.addr, "control is ready");
    service.until_told_to_end().await;
    tracing::info!("control drains");
    running.shutdown().await;
    Ok(())
}

fn announce(ready: &Ready, format: Format) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let line = ReadyLine {
                event: "ready",
                api: &ready.api,
                ca: ready.ca.display().to_string(),
                owner: ready.owner.to_string(),
                group: ready.group.to_string(),
                join_token: ready.join_token.as_deref(),
                api_token: ready.api_token.as_deref(),
            };
            serde_json::to_writer(&mut out, &line)?;
            writeln!(out)?;
        }
        Format::Human => write!(out, "{}", welcome(ready))?,
    }
    out.flush()
}

fn welcome(ready: &Ready) -> String {
    let folder = ready.ca.parent().unwrap_or(&ready.ca).display().to_string();
    let data = if folder == config::DATA { String::new() } else { format!(" --data {folder}") };
    let more = format!("lacis-control token create{data}");
    let (api, ca, group) = (&ready.api, ready.ca.display(), &ready.group);
    match (&ready.join_token, &ready.api_token) {
        (Some(join), Some(token)) => format!(
            "Lacis control is ready at {api}\n\n\
             Let a machine in (run this there):\n\n  lacis up {join}\n\n\
             Group      {group}\n\
             Owner      {}\n\
             CA         {ca}\n\
             API token  {token}\n\n\
             Both tokens are shown this once; the join token lets any number of machines in for 24 h.\n\
             More join tokens: {more}\n",
            ready.owner
        ),
        (_, _) => format!(
            "Lacis control is ready at {api}\n\n\
             Group  {group}\n\
             CA     {ca}\n\n\
             Let a machine in: {more}\n"
        ),
    }
}
