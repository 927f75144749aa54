//! What a service manager hears from the programs.

use std::{os::unix::net::UnixDatagram, time::Duration};

use support::Process;

use crate::lab::Lab;

/// The next word to the service manager.
#[track_caller]
fn heard(socket: &UnixDatagram) -> String {
    let mut word = [0; 512];
    let length = socket.recv(&mut word).expect("a word within 30 s");
    String::from_utf8_lossy(&word[..length]).into_owned()
}

#[test]
fn agent_and_control_say_when_they_are_ready_alive_and_stopping() {
    let lab = Lab::new();
    let path = lab.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();

    let web = lab.node(2, "web");
    let mut command = web.up_command(Some(&lab.token()));
    // `ip netns exec` becomes the agent, so that the process id is the one that the watchdog is for.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut agent = Process::start(&mut command, &lab.dir.path().join("agent.log"));
    let (mut ready, mut alive) = (false, 0);
    while !ready || alive < 3 {
        let word = heard(&socket);
        ready |= word.contains("READY=1");
        alive += usize::from(word.contains("WATCHDOG=1"));
    }
    assert_eq!(agent.terminate(), Some(0));
    while !heard(&socket).contains("STOPPING=1") {}

    let mut second = lab.host.command(support::binary("lacis-control"));
    second.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(lab.dir.path().join("second"));
    second.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut control = Process::start(&mut second, &lab.dir.path().join("second.log"));
    assert!(heard(&socket).contains("READY=1"));
    for _ in 0..3 {
        assert!(heard(&socket).contains("WATCHDOG=1"));
    }
    assert_eq!(control.terminate(), Some(0));
    while !heard(&socket).contains("STOPPING=1") {}
}
