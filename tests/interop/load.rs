//! Handshakes while somebody floods: whoever proves its address with a cookie gets through.

use std::{
    net::UdpSocket,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use support::{pause, run_ok};

use crate::lab::{Lab, Program, Side};

/// Sends one genuine initiation for a side again and again.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Draws an initiation for `target` from its peer, and repeats it from the switch's own address.
    fn start(lab: &Lab, target: &Side, from: &Side) -> Self {
        let bridges = run_ok(Command::new("ip").args(["-o", "link", "show", "type", "bridge"]));
        let bridge = bridges.lines().last().unwrap().split(": ").nth(1).unwrap().to_owned();
        assert!(lab.dir.path().exists());
        run_ok(Command::new("ip").args(["addr", "replace", "192.0.2.254/24", "dev", &bridge]));
        let socket = UdpSocket::bind("192.0.2.254:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let trap = socket.local_addr().unwrap().to_string();
        from.forgets(target);
        from.wg(&[
            "peer",
            &target.public,
            "allowed-ips",
            &format!("{}/32", target.overlay),
            "endpoint",
            &trap,
        ]);
        from.reaches(target, "0");
        let mut initiation = [0; 2048];
        let (length, _) = socket.recv_from(&mut initiation).unwrap();
        assert_eq!((length, initiation[0]), (148, 1), "an initiation came");
        from.forgets(target);
        let to = format!("{}:51820", target.host.v4());
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    let _ = socket.send_to(&initiation[..length], &to);
                }
                pause(Duration::from_millis(10));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn under_load_we_ask_for_a_cookie_and_let_in_who_has_it() {
    let on_one = Program::all().into_iter().map(|other| (Program::Lacis, other));
    for (one, two) in on_one.chain([(Program::LacisOnTwoShards, Program::Lacis)]) {
        println!("{one:?} with {two:?}");
        let lab = Lab::new();
        let (ours, theirs) = lab.pair_of(one, two);
        let flood = Flood::start(&lab, &ours, &theirs);
        support::eventually("cookies are asked for", || (ours.counter("cookies_out") > 100).then_some(()));
        theirs.knows(&ours, &[]);
        theirs.must_reach(&ours);
        let asked = ours.counter("cookies_out");
        support::eventually("the load goes on", || (ours.counter("cookies_out") > asked).then_some(()));
        drop(flood);
    }
}

#[test]
fn we_get_through_to_others_under_load() {
    let ours = [Program::Lacis, Program::LacisOnTwoShards];
    for (one, two) in Program::others().into_iter().flat_map(|other| ours.map(|one| (one, other))) {
        println!("{one:?} with {two:?}");
        let lab = Lab::new();
        let (ours, theirs) = lab.pair_of(one, two);
        let flood = Flood::start(&lab, &theirs, &ours);
        ours.knows(&theirs, &[]);
        ours.must_reach(&theirs);
        drop(flood);
    }
}
