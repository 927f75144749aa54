//! systemd-resolved, told over D-Bus what each overlay interface answers.
//!
//! The calls go through `busctl`, which is there wherever systemd-resolved is: three short calls in the life
//! of an interface do not pay for a D-Bus library. An interface that vanishes takes its settings along; one that
//! stays gives them up by `RevertLink`.

use std::{collections::BTreeMap, net::IpAddr, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use super::Link;

/// systemd-resolved answers in milliseconds, or something holds it up.
const CALL: Duration = Duration::from_secs(5);

const NAME: &str = "org.freedesktop.resolve1";
const MANAGER: [&str; 3] = [NAME, "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager"];
const BUS: [&str; 3] = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];

/// `AF_INET` and `AF_INET6` of Linux.
const FAMILIES: [&str; 2] = ["2", "10"];

/// What was told, interface by interface.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    links: BTreeMap<u32, Link>,
}

impl Resolved {
    /// Whether systemd-resolved runs. It is not started for our sake.
    pub(super) async fn runs() -> bool {
        let owned = call(&BUS, "NameHasOwner", &["s".to_owned(), NAME.to_owned()]).await;
        owned.is_ok_and(|answer| answer.trim() == "b true")
    }

    /// Tells what is wanted, where it differs from what was told.
    pub(super) async fn set(&mut self, wanted: BTreeMap<u32, Link>) -> Result<(), String> {
        let gone: Vec<u32> = self.links.keys().copied().filter(|index| !wanted.contains_key(index)).collect();
        for index in gone {
            self.links.remove(&index);
            // An interface that is gone has taken its settings along.
            let _ = call(&MANAGER, "RevertLink", &["i".to_owned(), index.to_string()]).await;
        }
        for (index, link) in wanted {
            if self.links.get(&index) != Some(&link) {
                tell(index, &link).await?;
                self.links.insert(index, link);
            }
        }
        Ok(())
    }
}

async fn tell(index: u32, link: &Link) -> Result<(), String> {
    call(&MANAGER, "SetLinkDNS", &servers(index, &link.servers)).await?;
    call(&MANAGER, "SetLinkDomains", &domains(index, &link.domains)).await?;
    // Asked for our domains alone, over plain DNS, which the tunnel's end on this very host answers.
    let default_route = ["ib".to_owned(), index.to_string(), "false".to_owned()];
    call(&MANAGER, "SetLinkDefaultRoute", &default_route).await?;
    for method in ["SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSSEC", "SetLinkDNSOverTLS"] {
        let off = ["is".to_owned(), index.to_string(), "no".to_owned()];
        // Some builds of systemd-resolved lack some of these, and need not be told.
        let _ = call(&MANAGER, method, &off).await;
    }
    Ok(())
}

/// `ia(iay)`: the interface, and each server as family and bytes.
fn servers(index: u32, servers: &[IpAddr]) -> Vec<String> {
    let mut words = vec!["ia(iay)".to_owned(), index.to_string(), servers.len().to_string()];
    for server in servers {
        let (family, bytes) = match server {
            IpAddr::V4(v4) => (FAMILIES[0], v4.octets().to_vec()),
            IpAddr::V6(v6) => (FAMILIES[1], v6.octets().to_vec()),
        };
        words.extend([family.to_owned(), bytes.len().to_string()]);
        words.extend(bytes.iter().map(ToString::to_string));
    }
    words
}

/// `ia(sb)`: the interface, and each domain, for routing only.
fn domains(index: u32, domains: &[String]) -> Vec<String> {
    let mut words = vec!["ia(sb)".to_owned(), index.to_string(), domains.len().to_string()];
    words.extend(domains.iter().flat_map(|domain| [domain.clone(), "true".to_owned()]));
    words
}

async fn call(object: &[&str; 3], method: &str, arguments: &[String]) -> Result<String, String> {
    let mut command = Command::new("busctl");
    command.args(["--system", "--no-pager", "call"]).args(object).arg(method).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |why: &str| format!("systemd-resolved was not told ({method}): {}", why.trim());
    match timeout(CALL, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(failed(&String::from_utf8_lossy(&output.stderr))),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_spelled_as_busctl_reads_them() {
        let both = ["10.128.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let expected = "ia(iay) 7 2 2 4 10 128 0 1 10 16 253 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1";
        assert_eq!(servers(7, &both).join(" "), expected);
        let two = ["a.lacis.internal".to_owned(), "10.in-addr.arpa".to_owned()];
        assert_eq!(domains(7, &two).join(" "), "ia(sb) 7 2 a.lacis.internal true 10.in-addr.arpa true");
    }
}
