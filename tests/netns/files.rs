//! A file that one node has of another over the overlay.

use std::{fs, process::Command, time::Duration};

use support::{Process, run_ok};

use crate::lab::{Lab, Node};

/// Has a node fetch so many numbers from another at each of these addresses, as a URL has them; what arrives must be what was
/// sent, and within `limit`.
#[track_caller]
pub(crate) fn fetch(lab: &Lab, from: &Node, to: &Node, addresses: &[String], numbers: u32, limit: Duration) {
    let [sent, received] = ["sent", "received"].map(|name| lab.dir.path().join(name));
    let bytes: Vec<u8> = (0..numbers).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&sent, bytes).unwrap();
    let mut server = from.host.command("python3");
    server.args(["-u", "-m", "http.server", "8000", "--bind", "::"]).current_dir(lab.dir.path());
    let mut serving = Process::start(&mut server, &lab.dir.path().join("http.log"));
    assert!(serving.line().contains("Serving"));
    for address in addresses {
        let url = format!("http://{address}:8000/sent");
        let mut curl = to.host.command("curl");
        curl.args(["-sS", "--max-time", &limit.as_secs().to_string(), "-o"]).arg(&received).arg(&url);
        run_ok(&mut curl);
        run_ok(Command::new("cmp").arg(&sent).arg(&received));
    }
}
