//! The desk: one thread that admits members, keeps their leases and alone writes the table.
//!
//! Letters reach it from workers. At most so many wait that the last is answered in time ([`limits::HELLOS`]); a HELLO
//! that would wait behind many others needs a cookie, which a worker makes without the desk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use lacis_proto::{
    ControlId,
    relay::{Frame, HEADER, Header, Kind, Packet},
};

use crate::{
    clock::Clock,
    cookie::Cookies,
    figures::Figures,
    forward::{self, Verdict},
    lease::{self, Leases, Outcome, Revocation},
    leg::Leg,
    limiter::nanoseconds,
    limits,
    table::{Rates, Table},
    tls::{self, Clients},
    told::Told,
    udp::socket::UdpSocket,
};

/// What the desk is told.
#[derive(Debug)]
enum Letter {
    Hello(Leg, Box<[u8]>),
    Refresh(Leg, Box<[u8]>),
    Revoke(ControlId, Vec<Revocation>),
    Close(Leg),
    SayFarewell,
    Stop,
}

/// Where letters for the desk are posted.
#[derive(Clone, Debug)]
pub(crate) struct Letters {
    to: mpsc::Sender<Letter>,
    waiting: Arc<Waiting>,
    cookies: Cookies,
}

#[derive(Debug, Default)]
struct Waiting {
    hellos: AtomicUsize,
    refreshes: AtomicUsize,
}

/// The other end of [`Letters`].
#[derive(Debug)]
pub(crate) struct Inbox {
    from: mpsc::Receiver<Letter>,
    waiting: Arc<Waiting>,
}

/// An empty inbox, and where to post to it.
pub(crate) fn inbox(cookies: Cookies) -> (Letters, Inbox) {
    let (to, from) = mpsc::channel();
    let waiting = Arc::new(Waiting::default());
    (Letters { to, waiting: Arc::clone(&waiting), cookies }, Inbox { from, waiting })
}

impl Letters {
    /// Posts a frame.
    ///
    /// # Errors
    /// The frame to answer with, where the desk is busy and this one needs a cookie; none where there is no room.
    pub(crate) fn post(
        &self,
        since: Duration,
        from: Leg,
        frame: &[u8],
        is_hello: bool,
    ) -> Result<(), Option<Vec<u8>>> {
        let (waiting, most) = if is_hello {
            (&self.waiting.hellos, limits::HELLOS)
        } else {
            (&self.waiting.refreshes, limits::REFRESHES)
        };
        let ahead = waiting.load(Ordering::Relaxed);
        if is_hello && ahead >= limits::BUSY && !self.bears_cookie(since, &from, frame) {
            return Err(lease::retry(&self.cookies, since, &from, frame));
        }
        if ahead >= most {
            return Err(None);
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let letter =
            if is_hello { Letter::Hello(from, frame.into()) } else { Letter::Refresh(from, frame.into()) };
        self.to.send(letter).map_err(|_| None)
    }

    /// Ends leases of members that are out.
    pub(crate) fn revoke(&self, control: ControlId, revocations: Vec<Revocation>) {
        let _ = self.to.send(Letter::Revoke(control, revocations));
    }

    /// Ends leases of a member whose stream has ended.
    pub(crate) fn close(&self, leg: Leg) {
        let _ = self.to.send(Letter::Close(leg));
    }

    /// Has the desk tell every member to go elsewhere.
    pub(crate) fn say_farewell(&self) {
        let _ = self.to.send(Letter::SayFarewell);
    }

    /// Ends the desk, after what was posted before.
    pub(crate) fn stop(&self) {
        let _ = self.to.send(Letter::Stop);
    }

    fn bears_cookie(&self, since: Duration, from: &Leg, frame: &[u8]) -> bool {
        match Packet::parse(frame).map(|packet| packet.frame) {
            Ok(Frame::Hello(hello)) => self.cookies.knows(since, from, &hello.cookie),
            Ok(_) | Err(_) => false,
        }
    }
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) leases: Leases,
    pub(crate) table: Arc<Table>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) rates: Rates,
    pub(crate) clock: Clock,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) count: Arc<AtomicUsize>,
    pub(crate) told: Told,
}

impl Desk {
    /// Runs until it is told to stop.
    pub(crate) fn run(mut self, inbox: &Inbox) {
        let mut swept = Duration::ZERO;
        loop {
            let wait = if self.told.is_waiting() { Duration::ZERO } else { limits::SWEEP };
            match inbox.from.recv_timeout(wait) {
                Ok(Letter::Hello(from, frame)) => {
                    inbox.waiting.hellos.fetch_sub(1, Ordering::Relaxed);
                    self.frame(from, &frame);
                }
                Ok(Letter::Refresh(from, frame)) => {
                    inbox.waiting.refreshes.fetch_sub(1, Ordering::Relaxed);
                    self.frame(from, &frame);
                }
                Ok(Letter::Revoke(control, revocations)) => drop(self.leases.revoke(&control, &revocations)),
                Ok(Letter::Close(leg)) => self.leases.close(&leg),
                Ok(Letter::SayFarewell) => {
                    for (to, frame) in self.leases.farewells() {
                        self.say(&to, &frame);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.keep_told(),
                Ok(Letter::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.told.is_full() {
                self.keep_told();
            }
            let now = self.clock.now();
            if now.since >= swept + limits::SWEEP {
                swept = now.since;
                self.leases.sweep(now);
            }
            self.count.store(self.leases.count() as usize, Ordering::Relaxed);
        }
    }

    fn frame(&mut self, from: Leg, frame: &[u8]) {
        let (figure, answer) = match self.leases.take(self.clock.now(), &from, frame) {
            Outcome::Granted(answer) => (Some(&self.figures.granted), answer),
            Outcome::Moved(answer) => (Some(&self.figures.moved), answer),
            Outcome::Kept(answer) => (None, answer),
            Outcome::Retry(answer) => {
                self.figures.retried.fetch_add(1, Ordering::Relaxed);
                return self.say(&from, &answer);
            }
            Outcome::NotBound(answer) => {
                self.figures.not_bound.fetch_add(1, Ordering::Relaxed);
                return self.say(&from, &answer);
            }
            Outcome::Refused(why) => {
                self.figures.forged.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(from = %from.observed(), why, "a frame was refused");
                return;
            }
            Outcome::Known(answer, is_news) => {
                if let Some(answer) = self.told.take(from, frame, answer, is_news) {
                    self.say(&from, &answer);
                }
                return;
            }
            Outcome::Silent => return,
        };
        if let Some(figure) = figure {
            figure.fetch_add(1, Ordering::Relaxed);
        }
        self.say(&from, &answer);
        self.first_payload(&from, frame, &answer);
    }

    /// Has the disk keep what controls have said, and answers them then.
    fn keep_told(&mut self) {
        for (to, answer) in self.told.keep(self.clock.now().unix_ms) {
            self.say(&to, &answer);
        }
    }

    fn say(&self, to: &Leg, frame: &[u8]) {
        tls::say(&self.socket, &self.clients, to, frame);
    }

    /// Forwards what came with a HELLO, under the lease that its answer names.
    fn first_payload(&self, from: &Leg, frame: &[u8], answer: &[u8]) {
        let (Ok(hello), Some(granted)) = (Packet::parse(frame), Header::parse(answer)) else { return };
        let Frame::Hello(hello) = hello.frame else { return };
        let Some((address, payload)) = hello.first else { return };
        let data = Header { kind: Kind::Data, lease: granted.lease, address };
        match forward::decide(&self.table, from, data) {
            Verdict::Forward { from, to } => {
                let now = nanoseconds(self.clock.since());
                if self.table.admit(&from, HEADER + payload.len(), now, &self.rates) {
                    let frame = [&forward::delivered(&to, from.address), payload].concat();
                    self.say(&to.leg, &frame);
                    self.figures.packets.fetch_add(1, Ordering::Relaxed);
                    self.figures.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                }
            }
            Verdict::NotBound(told) | Verdict::Unknown(told) => self.say(from, &told),
            Verdict::Blocked => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use lacis_proto::relay::{Hello, RelayAddress};

    use super::*;
    use crate::leg::Place;

    const SINCE: Duration = Duration::from_secs(1);

    fn leg() -> Leg {
        Leg::Udp(Place::of(([192, 0, 2, 1], 5).into()))
    }

    fn hello(cookie: [u8; 16]) -> Vec<u8> {
        let frame = Frame::Hello(Hello { counter: 1, cookie, token: &[], first: None });
        Packet { lease: 0, address: RelayAddress(1), frame }.to_bytes()
    }

    #[test]
    fn a_desk_that_is_busy_asks_for_cookies_and_a_full_one_for_nothing() {
        let cookies = Cookies::new([1; 32]);
        let (letters, inbox) = inbox(cookies.clone());
        let post = |cookie| letters.post(SINCE, leg(), &hello(cookie), true);
        for _ in 0..limits::BUSY {
            assert_eq!(post([0; 16]), Ok(()));
        }
        assert!(matches!(post([0; 16]), Err(Some(_))), "a cookie is asked for");
        let cookie = cookies.make(SINCE, &leg());
        for _ in limits::BUSY..limits::HELLOS {
            assert_eq!(post(cookie), Ok(()));
        }
        assert_eq!(post(cookie), Err(None), "there is no room");
        for _ in 0..limits::REFRESHES {
            assert_eq!(letters.post(SINCE, leg(), &[], false), Ok(()));
        }
        assert_eq!(letters.post(SINCE, leg(), &[], false), Err(None), "nor for others");
        assert_eq!(inbox.from.try_iter().count(), limits::HELLOS + limits::REFRESHES);
    }
}
