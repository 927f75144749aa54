//! Two nodes that begin to speak to each other, watched from the sea.

use std::{fmt, net::IpAddr, time::Duration};

use support::pause;

use crate::{
    mesh::{Mesh, Node},
    sea::Eye,
    stream::{Flow, Report, SEALED, Stream},
};

/// What is looked at together: twenty packets of speech.
const WINDOW: Duration = Duration::from_millis(100);

/// Of the packets that a window has room for, so many in a hundred are the stream, and not what goes beside it.
const MOST_OF_IT: u64 = 60;

/// A class that held for so many windows in a row holds.
const STEADY: u32 = 4;

/// How packets get from one node to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Direct,
    Relayed,
    /// They do not.
    Nothing,
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "D",
            Self::Relayed => "R",
            Self::Nothing => "-",
        })
    }
}

/// What was seen of a meeting.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) class: Class,
    /// When packets began to go directly, from the first packet that was sent.
    pub(crate) direct: Option<Duration>,
    pub(crate) report: Report,
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Option<Duration>| time.map_or("-".to_owned(), |time| time.as_millis().to_string());
        let Report { sent, lost, missing, doubled, first, gap } = &self.report;
        write!(
            formatter,
            "{} first {} ms, direct {} ms, lost {lost} of {sent} {:?}, doubled {doubled}, longest gap {} ms",
            self.class,
            ms(*first),
            ms(self.direct),
            &missing[..missing.len().min(3)],
            gap.as_millis()
        )
    }
}

/// Watches a stream: through the relays, or past them.
pub(crate) struct Watch {
    sea: Eye,
    /// From the node, as it is seen outside, to each address of a relay.
    through: Vec<(IpAddr, IpAddr)>,
    stream: Stream,
    flow: Flow,
    relayed: u64,
    came: usize,
}

impl Watch {
    /// Begins a stream from a node, which is seen at `outer` outside, to another.
    pub(crate) fn start(mesh: &Mesh, from: &Node, outer: &[IpAddr], to: &Node) -> Self {
        mesh.internet.sea().look_anew();
        Self::on(mesh, outer, Stream::start(from, to, Flow::SPEECH), Flow::SPEECH)
    }

    /// Watches a stream that is there.
    pub(crate) fn on(mesh: &Mesh, outer: &[IpAddr], stream: Stream, flow: Flow) -> Self {
        let relays = mesh.relays();
        let through = outer.iter().flat_map(|outer| relays.iter().map(|relay| (*outer, *relay))).collect();
        let mut watch = Self { sea: mesh.internet.sea(), through, stream, flow, relayed: 0, came: 0 };
        watch.relayed = watch.relayed_so_far();
        watch
    }

    fn relayed_so_far(&self) -> u64 {
        self.through.iter().map(|(from, to)| self.sea.carried(*from, *to)).sum()
    }

    /// Lets a window pass, and says how the stream went in it.
    pub(crate) fn window(&mut self) -> Class {
        pause(WINDOW);
        let relayed = self.relayed_so_far();
        let came = self.stream.came();
        // By bytes: over TLS many packets of the stream go in one.
        let through = (relayed - self.relayed) / u64::try_from(self.flow.length).unwrap();
        let arrived = u64::try_from(came - self.came).unwrap();
        (self.relayed, self.came) = (relayed, came);
        let most_of_it =
            u64::from(self.flow.rate) * u64::try_from(WINDOW.as_millis()).unwrap() * MOST_OF_IT / 100_000;
        match (arrived >= most_of_it, through >= most_of_it) {
            (false, _) => Class::Nothing,
            (true, true) => Class::Relayed,
            (true, false) => Class::Direct,
        }
    }

    /// Waits until the stream goes in this way and stays there; gives when it began to, if within the patience.
    pub(crate) fn until(&mut self, class: Class, patience: Duration) -> Option<Duration> {
        let end = self.stream.elapsed() + patience;
        let (mut steady, mut since) = (0, None);
        while self.stream.elapsed() < end {
            if self.window() == class {
                steady += 1;
                since.get_or_insert(self.stream.elapsed().saturating_sub(WINDOW));
            } else {
                (steady, since) = (0, None);
            }
            if steady == STEADY {
                return since;
            }
        }
        None
    }

    /// When the stream's first packet set out for where the other node is seen, past the relay.
    pub(crate) fn first_direct(&self, to: IpAddr) -> Option<Duration> {
        let (from, _) = self.through.first()?;
        self.sea.first(*from, to, SEALED).map(|at| at - self.stream.begin())
    }

    /// The stream, for its times.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// From now on the sender is seen elsewhere.
    pub(crate) fn seen_at(&mut self, outer: IpAddr) {
        self.through.iter_mut().for_each(|(from, _)| *from = outer);
        self.relayed = self.relayed_so_far();
    }

    /// Ends the stream.
    pub(crate) fn end(self) -> Report {
        self.stream.end()
    }
}

/// Has two nodes meet that have not spoken yet, and watches for as long as a direct path may take.
pub(crate) fn meet(mesh: &Mesh, from: &Node, outer: &[IpAddr], to: &Node, patience: Duration) -> Seen {
    let mut watch = Watch::start(mesh, from, outer, to);
    let direct = watch.until(Class::Direct, patience);
    let class = if direct.is_some() { Class::Direct } else { watch.window() };
    Seen { class, direct, report: watch.end() }
}
