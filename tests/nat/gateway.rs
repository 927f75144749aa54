//! Routers that map ports for their clients, by miniupnpd.

use std::path::Path;

use support::{Process, eventually, run};

use crate::{internet::SECOND, site::Site};

/// Which protocols the router speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// PCP and NAT-PMP on one port.
    Pcp,
    /// UPnP alone.
    Upnp,
}

/// A daemon in a site's router. Gone when dropped, and its mappings with the router.
pub(crate) struct Mapper {
    _daemon: Process,
    leases: std::path::PathBuf,
}

impl Mapper {
    /// Whether there is the program for it; said aloud where not.
    pub(crate) fn is_installed() -> bool {
        let found = run(std::process::Command::new("sh").args(["-c", "command -v miniupnpd"]));
        if !found.status.success() {
            println!("passed over, not installed: miniupnpd");
        }
        found.status.success()
    }

    /// Starts the daemon, with tables of its own. It refuses to map addresses of documentation, so that its router
    /// gets another outer address, to which everybody in the laboratory has a route ([`SECOND`]).
    pub(crate) fn start(site: &Site, folder: &Path, speaks: Speaks) -> Self {
        let (leases, file) = (folder.join("leases"), folder.join("miniupnpd.conf"));
        std::fs::write(&leases, "").unwrap();
        let outer = SECOND.replace("0/24", &site.wan.octets()[3].to_string());
        let (upnp, pcp) = match speaks {
            Speaks::Pcp => ("no", "yes"),
            Speaks::Upnp => ("yes", "no"),
        };
        let text = format!(
            "ext_ifname=wan\nlistening_ip=lan\next_ip={outer}\nenable_upnp={upnp}\nenable_natpmp={pcp}\n\
             secure_mode=yes\nport=0\nlease_file={}\n\
             uuid=00000000-0000-4000-8000-000000000001\nupnp_table_name=upnp\nupnp_nat_table_name=upnp\n\
             upnp_forward_chain=m_fwd\nupnp_nat_chain=m_pre\nupnp_nat_postrouting_chain=m_post\n\
             allow 1024-65535 0.0.0.0/0 1024-65535\n",
            leases.display()
        );
        std::fs::write(&file, text).unwrap();
        site.router.feed("nft", &["-f", "-"], TABLES);
        site.router.ip(&["addr", "add", &format!("{outer}/24"), "dev", "wan"]);
        let mut command = site.router.command("miniupnpd");
        command.args(["-d", "-f"]).arg(&file).args(["-P"]).arg(folder.join("miniupnpd.pid"));
        let daemon = Process::start(&mut command, &folder.join("miniupnpd.log"));
        eventually("miniupnpd listens", || {
            let sockets = site.router.sh("ss -Hlun");
            sockets.contains(if speaks == Speaks::Pcp { ":5351" } else { ":1900" }).then_some(())
        });
        Self { _daemon: daemon, leases }
    }

    /// Waits until something is mapped.
    pub(crate) fn has_a_lease(&self) {
        eventually("a port is mapped", || self.leases().contains("UDP:").then_some(()));
    }

    /// The mappings, one a line: `UDP:outer port:client:inner port:…`.
    pub(crate) fn leases(&self) -> String {
        std::fs::read_to_string(&self.leases).unwrap_or_default()
    }
}

/// The chains that the daemon fills.
const TABLES: &str = "table inet upnp {
  chain m_fwd { }
  chain m_pre { }
  chain m_post { }
  chain forward { type filter hook forward priority -1; policy accept; jump m_fwd; }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump m_pre; }
  chain postrouting { type nat hook postrouting priority 99; policy accept; jump m_post; }
}
";
