//! Start-up and the event loop.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc, time::Duration};

use lacis_agent_core::{Action, AgentCore, Boot, Event, GatewayEvent, Local, Notice, RelayEvent, Zones};
use lacis_proto::{Endpoint, EndpointKind, GroupId, PeerId, PublicKey, ReportRequest, Run, ScopeId};
use lacis_tunnel::{Config, Device, Port, Tunnel};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{
    Agent, AgentError, Ask, DEFAULT_PORT, INPUTS, Input, Interfaces, Options, RETRY, SAVE_AGAIN,
    SAVE_SESSIONS, SETTLE,
    ask::{Question, resolve},
    change::Changing,
    degraded::{Troubles, state_trouble},
    enrol::{AGENT, Enroller, gateway_key_of, hosted, key_of},
    gateway::Gatehouse,
    mapped, names,
    probes::Probes,
    sessions::Sessions,
    status::{is_ready, status},
    watching::{Heard, Watching, watch as start_watching},
    ways::{finder, signals},
};
use crate::{
    clock::{Clock, random},
    control::{Caller, ControlClient, FirstUrl},
    dns::{DnsServer, Forwarder},
    host::{DefaultRoute, Host, resolver::HostResolver},
    http,
    overlay::{Devices, Overlay},
    paths::{Finder, Found},
    portmap::PortMapper,
    socket,
    state::{Enrolment, State},
    status::GoneGroup,
};

/// Starts an agent and its loop.
pub(super) async fn start(mut options: Options) -> Result<Agent, AgentError> {
    let state = Arc::new(State::open(&options.state)?);
    let identity = state.identity()?;
    let (devices, host, host_changes) = match std::mem::replace(&mut options.interfaces, Interfaces::Kernel) {
        Interfaces::Kernel => {
            try_this_host(options.mtu)?;
            let (host, changes) = Host::open()?;
            (Devices::Kernel(host.clone()), Some(host), Some(changes))
        }
        Interfaces::Memory(hosts) => (Devices::Memory(hosts), None, None),
    };
    let (clock, host_name, proxy) = (options.clock, options.host_name.clone(), options.proxy.clone());
    let (run, first) = (Run::new(u64::from_be_bytes(random()), &options.host_name), FirstUrl::default());
    let enroller = Enroller { state, identity, clock, host_name, run, proxy, first, host };
    let known = enroller.state.enrolment()?;
    let mut enrolment = match &options.token {
        Some(token) => enroller.join(known, token).await?,
        None => known.ok_or(AgentError::NotEnrolled)?,
    };
    let (inputs, input) = mpsc::channel(INPUTS);
    let tunnel = start_tunnel(&enrolment, &options, inputs.clone())?;
    let mut troubles = Troubles::new(enroller.state.trouble().map(state_trouble));
    keep_port(&enroller.state, &mut enrolment, tunnel.port(), &mut troubles);
    let endpoints = endpoints(enroller.host.as_ref(), &options, &tunnel).await;
    // Groups that are known go on at once, whether control answers or not; the loop asks for the others.
    if enrolment.peers.is_empty() {
        enroller.host_peers(&mut enrolment, &endpoints, &[]).await?;
    }
    let (zones, answered) = watch::channel(Zones::default());
    let (names, forwarder) = names::start(&options, matches!(devices, Devices::Kernel(_)));
    let mut overlay = Overlay::new(tunnel, devices, DnsServer::new(answered, forwarder.clone()));
    let boot = boot(&enroller, &enrolment, &options, endpoints.clone(), &mut overlay)?;
    let (changed, changes) = watch::channel(0);
    let ask = Ask::new(inputs.clone(), changes, &options);
    let serving = serve(&options, &ask).await?;
    let (stop, stopped) = mpsc::channel(1);
    let (node, port) = (enrolment.node.clone(), overlay.tunnel.port());
    let (finder, finds) = finder(&enroller, &enrolment, &options, port)?;
    let running = Running {
        mapper: mapped::start(&options, enroller.host.as_ref(), port, inputs.clone()),
        core: AgentCore::new(boot),
        clock,
        overlay,
        finder,
        signals: signals(),
        client: enroller.client_of(&enrolment)?,
        gone: enroller.state.gone(),
        enroller,
        changing: None,
        inputs,
        watching: None,
        probes: Probes::default(),
        zones,
        changed,
        heard: watch::Sender::new(Heard::default()),
        sessions: Sessions::default(),
        gateways: Gatehouse::default(),
        names,
        forwarder,
        troubles,
        save_again: None,
        endpoints,
        options,
        serving,
        scope_changed: BTreeMap::new(),
        look: HostLook::default(),
        ending: None,
    };
    let task = tokio::spawn(running.run(input, finds, stopped, host_changes));
    Ok(Agent { node, port, stop, ask, task })
}

/// Offers the local API, and figures where that is wanted.
async fn serve(options: &Options, ask: &Ask) -> Result<Vec<AbortHandle>, AgentError> {
    let local = socket::serve(options.socket.clone(), ask.clone()).await?;
    let mut serving = vec![tokio::spawn(local).abort_handle()];
    if let Some(addr) = options.metrics {
        let listener = http::bind(addr).await.map_err(AgentError::Metrics)?;
        serving.push(tokio::spawn(http::serve(listener, ask.clone())).abort_handle());
    }
    Ok(serving)
}

/// Makes an interface and lets it go: what this host refuses is said before a token is spent.
fn try_this_host(mtu: u16) -> Result<(), AgentError> {
    let name = format!("lcst{}", std::process::id());
    Device::open_tun(&name, mtu).map(drop).map_err(AgentError::Device)
}

fn start_tunnel(
    enrolment: &Enrolment,
    options: &Options,
    inputs: mpsc::Sender<Input>,
) -> Result<Tunnel, AgentError> {
    let port = match (options.port, enrolment.port) {
        (Some(port), _) => Port::Exactly(port),
        (None, last) => Port::Prefer(last.unwrap_or(DEFAULT_PORT)),
    };
    // The loop is behind: what it misses here it sees in the figures.
    let events = Box::new(move |event| drop(inputs.try_send(Input::Tunnel(event))));
    let (core, shards, offloads) = (options.core, options.shards, options.offloads);
    let config = Config { core, shards, offloads, ..Config::new(port, events) };
    Tunnel::start(config).map_err(AgentError::Tunnel)
}

/// Remembers the port for the next start: a convenience, without which this one goes on.
fn keep_port(state: &State, enrolment: &mut Enrolment, port: u16, troubles: &mut Troubles) {
    if enrolment.port != Some(port) {
        enrolment.port = Some(port);
        let saved = state.save_enrolment(enrolment);
        troubles.state = saved.err().as_ref().map(state_trouble).or(troubles.state.take());
    }
}

pub(super) async fn endpoints(host: Option<&Host>, options: &Options, tunnel: &Tunnel) -> Vec<Endpoint> {
    if !options.endpoints.is_empty() {
        return options.endpoints.clone();
    }
    match host {
        // Whoever plays the host runs on this machine, and so do the other agents.
        None => vec![Endpoint { kind: EndpointKind::Host, addr: ([127, 0, 0, 1], tunnel.port()).into() }],
        Some(host) => host.endpoints(tunnel).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "addresses of this host are unknown");
            Vec::new()
        }),
    }
}

fn boot(
    enroller: &Enroller,
    enrolment: &Enrolment,
    options: &Options,
    endpoints: Vec<Endpoint>,
    overlay: &mut Overlay,
) -> Result<Boot, AgentError> {
    let (state, identity) = (&enroller.state, &enroller.identity);
    let (scopes, damaged) = state.scopes();
    for (path, what) in damaged {
        tracing::warn!(?path, what, "a cached scope is damaged; control will send it again");
    }
    let mut local = Local {
        node: enrolment.node.clone(),
        mtu: options.mtu,
        hosted: BTreeMap::new(),
        offer: options.gateway.clone(),
    };
    for peer in &enrolment.peers {
        let key = key_of(state, &peer.group)?;
        let gateway = gateway_key_of(state, &peer.group)?;
        let hosted = hosted(enrolment, peer, &key, identity, gateway.as_ref());
        local.hosted.insert(peer.group.clone(), hosted);
        overlay.add_key(peer.group.clone(), key);
        if let Some(key) = gateway {
            overlay.add_gateway_key(peer.group.clone(), key);
        }
    }
    let mut recent: BTreeMap<GroupId, BTreeSet<PublicKey>> = BTreeMap::new();
    for session in state.recent_sessions() {
        recent.entry(session.group).or_default().insert(session.key);
    }
    Ok(Boot {
        local,
        scopes,
        recent,
        proofs: options.proofs,
        pins: state.pins(),
        urls: enrolment.urls.clone(),
        endpoints,
        agent: AGENT.to_owned(),
        report_seq: options.clock.unix_ms(),
        seed: u64::from_be_bytes(random()),
    })
}

pub(super) struct Running {
    pub(super) core: AgentCore,
    pub(super) clock: Clock,
    pub(super) overlay: Overlay,
    pub(super) finder: Finder,
    /// Room for signals that are under way.
    pub(super) signals: Arc<Semaphore>,
    pub(super) client: (ControlClient, Caller),
    pub(super) enroller: Enroller,
    pub(super) changing: Option<Changing>,
    pub(super) inputs: mpsc::Sender<Input>,
    watching: Option<Watching>,
    pub(super) probes: Probes,
    zones: watch::Sender<Zones>,
    changed: watch::Sender<u64>,
    heard: watch::Sender<Heard>,
    pub(super) sessions: Sessions,
    pub(super) gateways: Gatehouse,
    pub(super) names: Option<HostResolver>,
    pub(super) forwarder: Forwarder,
    pub(super) troubles: Troubles,
    save_again: Option<Duration>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) gone: Vec<GoneGroup>,
    pub(super) options: Options,
    serving: Vec<AbortHandle>,
    /// When each scope last changed.
    pub(super) scope_changed: BTreeMap<ScopeId, Duration>,
    look: HostLook,
    pub(super) ending: Option<Ending>,
    /// None where no port is to be mapped.
    pub(super) mapper: Option<PortMapper>,
}

/// When the host is looked at next, and its ways to everywhere when it last was.
#[derive(Default)]
struct HostLook {
    next: Option<Duration>,
    routes: Option<Vec<DefaultRoute>>,
}

/// Why the loop ends.
pub(super) enum Ending {
    /// It was told to.
    Told,
    /// It was told to, and to leave nothing behind.
    Purge,
    /// The tunnel broke.
    Broken(String),
}

impl Running {
    async fn run(
        mut self,
        mut input: mpsc::Receiver<Input>,
        mut finds: mpsc::Receiver<Found>,
        mut stopped: mpsc::Receiver<()>,
        mut host_changes: Option<mpsc::Receiver<()>>,
    ) -> Result<(), AgentError> {
        self.sessions = Sessions::remembered(self.enroller.state.recent_sessions());
        self.begin_to_find().await;
        self.look_at_routes().await;
        self.feed(Event::Started).await;
        self.ask_for_missing_peers();
        loop {
            let others = [self.finder.deadline(), self.gateways.rules.deadline()].into_iter().flatten().min();
            let due = [self.core.deadline(), self.sessions.due(), self.look.next, self.save_again, others];
            let next = due.into_iter().flatten().min();
            let wake = Instant::now() + next.map_or(SAVE_SESSIONS, |at| at.saturating_sub(self.clock.now()));
            tokio::select! {
                biased;
                _ = stopped.recv() => break,
                Some(()) = changes(&mut host_changes) => {
                    self.look.next.get_or_insert(self.clock.now() + SETTLE);
                }
                Some(found) = finds.recv() => self.find(found).await,
                Some(input) = input.recv() => self.take(input).await,
                () = sleep_until(wake) => self.due().await,
            }
            self.save_sessions_if_due();
            match self.ending.take() {
                Some(Ending::Broken(reason)) => return Err(AgentError::Broken(reason)),
                Some(Ending::Purge) => return self.purge().await,
                Some(Ending::Told) => break,
                None => {}
            }
        }
        self.end().await;
        Ok(())
    }

    /// Ends with nothing left: the state folder goes too.
    async fn purge(mut self) -> Result<(), AgentError> {
        self.end().await;
        self.enroller.state.purge()?;
        Ok(())
    }

    async fn end(&mut self) {
        self.serving.iter().for_each(AbortHandle::abort);
        if let Some(mapper) = self.mapper.take() {
            mapper.end().await;
        }
        if let Some(names) = self.names.take() {
            names.end().await;
        }
        // Whoever asks now hears that nobody runs here; a socket left behind would be replaced anyway.
        let _ = std::fs::remove_file(&self.options.socket);
        self.sessions.hurry();
        self.save_sessions_if_due();
        // Last, so that nothing of this run calls on a peer that has heard it.
        for group in self.core.local().hosted.keys().cloned().collect::<Vec<_>>() {
            self.say_goodbye(group).await;
        }
    }

    async fn due(&mut self) {
        let now = self.clock.now();
        if self.look.next.take_if(|at| *at <= now).is_some() {
            self.look_at_host().await;
        }
        if self.save_again.take_if(|at| *at <= now).is_some() {
            for id in std::mem::take(&mut self.troubles.unsaved) {
                self.save_scope(id);
            }
        }
        self.feed_gateways(GatewayEvent::Tick);
        self.feed(Event::Tick).await;
        self.find_on().await;
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Core(event) => self.feed(*event).await,
            Input::Tunnel(event) => self.take_tunnel(event).await,
            Input::Mapped => drop(self.look_at_endpoints().await),
            Input::Ask(Question::Status(answer)) => {
                let degraded = self.degradations();
                let heard = self.heard.borrow().clone();
                let gone = self.gone.clone();
                let (names, now) = (self.names_status(), self.clock.now());
                let ways = (&self.overlay, &self.finder);
                let mut status = status(&self.core, ways, heard, &degraded, gone, names, now);
                for group in &mut status.groups {
                    group.gateway = self.gateways.rules.clients(&group.id);
                }
                let _ = answer.send(status);
            }
            Input::Ask(Question::Metrics(answer)) => {
                let _ = answer.send(self.metrics());
            }
            Input::Ask(Question::Explain { peer, answer }) => drop(answer.send(self.explain(&peer))),
            Input::Ask(Question::Measure(answer)) => {
                self.find(Found::Relay(RelayEvent::Measure)).await;
                let _ = answer.send(());
            }
            Input::Ask(Question::Netcheck(answer)) => drop(answer.send(self.finder.netcheck())),
            Input::Ask(Question::Resolve { target, family, answer }) => {
                let _ = answer.send(resolve(&self.core, &target, family));
            }
            Input::Ask(Question::Probe { to, seq, answer }) => {
                if let Some(network) = self.overlay.network_of(&to.group) {
                    self.probes.send(&self.overlay.tunnel, network, to, seq, answer);
                }
            }
            Input::Ask(Question::Change { change, answer }) => self.begin(change, answer),
            Input::Gateway(event) => self.feed_gateways(event),
            Input::Changed(result) => self.changed(result).await,
        }
    }

    pub(super) async fn feed(&mut self, event: Event) {
        self.core.handle(self.clock.now(), event);
        while let Some(action) = self.core.poll() {
            self.perform(action).await;
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Reconcile(desired) => {
                let revision = desired.revision;
                self.reconcile().await;
                self.core.handle(self.clock.now(), Event::Applied { revision });
            }
            Action::Zones(zones) => {
                self.zones.send_replace(zones);
                self.tell_resolver();
            }
            Action::Initiate { group, keys } => self.initiate(&group, &keys),
            Action::SaveScope(id) => {
                self.scope_changed.insert(id.clone(), self.clock.now());
                self.save_scope(id);
            }
            Action::DropScope(id) => {
                self.scope_changed.remove(&id);
                self.troubles.unsaved.remove(&id);
                self.saved(self.enroller.state.remove_scope(&id));
                if let Ok(group) = GroupId::parse(id.as_str()) {
                    self.saved(self.enroller.state.leave(&group));
                }
            }
            Action::Connect { stream, request, .. } => {
                let (inputs, heard) = (self.inputs.clone(), self.heard.clone());
                self.watching = Some(start_watching(stream, request, self.client.clone(), inputs, heard));
            }
            Action::Disconnect { stream } => {
                self.watching.take_if(|watching| watching.stream == stream);
            }
            Action::UseUrls(urls) => self.use_urls(urls),
            Action::UseRelays(map) => self.use_relays(map).await,
            Action::Signaled(signal) => self.signaled(signal).await,
            Action::HostAgain(group) => self.host_again(group),
            Action::FetchProofs(asked) => self.fetch_proofs(asked),
            Action::SavePins => {
                self.saved(self.enroller.state.save_pins(self.core.pins()));
                self.look_at_gateways().await;
            }
            Action::SendReport(request) => self.send_report(request),
            Action::Notice(notice) => {
                if notice.is_alarm() {
                    tracing::warn!("{notice}");
                } else {
                    tracing::info!("{notice}");
                }
                if matches!(notice, Notice::Copy(_)) {
                    self.find_anew().await;
                }
                self.note_gone(&notice);
                self.touch();
            }
        }
    }

    pub(super) async fn reconcile(&mut self) {
        let desired = Arc::clone(self.core.desired());
        self.overlay.reconcile(&desired).await;
        self.tell_peers().await;
        self.look_at_gateways().await;
        self.tell_resolver();
        if self.overlay.is_waiting() {
            self.look.next.get_or_insert(self.clock.now() + RETRY);
        }
        if is_ready(&self.core, &self.overlay) {
            tracing::debug!(revision = desired.revision, "everything wanted is there");
        }
        self.touch();
    }

    /// Control is elsewhere, or will be: the next calls and the next start go there.
    fn use_urls(&mut self, urls: Vec<String>) {
        tracing::info!(urls = urls.join(" "), "control tells its addresses");
        self.client.0 = self.client.0.with_urls(urls.clone());
        self.saved(self.enroller.state.save_urls(urls));
    }

    fn send_report(&self, request: ReportRequest) {
        let ((client, caller), inputs, seq) = (self.client.clone(), self.inputs.clone(), request.seq);
        tokio::spawn(async move {
            let event = match client.report(&caller, &request).await {
                Ok(_) => Event::ReportDone { seq },
                Err(error) => {
                    tracing::debug!(%error, "report not taken");
                    Event::ReportFailed { seq, retry_after: error.retry_after() }
                }
            };
            let _ = inputs.send(Input::Core(Box::new(event))).await;
        });
    }

    fn fetch_proofs(&self, asked: Vec<PeerId>) {
        let ((client, caller), inputs) = (self.client.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let event = match client.proofs(&caller, &asked).await {
                Ok(reply) => Event::ProofsCame { asked, proofs: reply.proofs },
                Err(error) => {
                    tracing::debug!(%error, "no proofs");
                    Event::ProofsLost { asked, retry_after: error.retry_after() }
                }
            };
            let _ = inputs.send(Input::Core(Box::new(event))).await;
        });
    }

    /// Addresses of the host came or went: interfaces may lack something, and peers must know.
    async fn look_at_host(&mut self) {
        self.reconcile().await;
        if let Some(mapper) = &self.mapper {
            mapper.network_changed();
        }
        let has_moved = self.look_at_routes().await;
        if self.look_at_endpoints().await || has_moved {
            self.find(Found::Moved).await;
            self.feed(Event::NetworkChanged).await;
        }
    }

    /// Whether packets leave for everywhere by another way than before, the own addresses aside. What was found at the
    /// start is no news.
    async fn look_at_routes(&mut self) -> bool {
        let Some(host) = &self.enroller.host else { return false };
        let Ok(routes) = host.default_routes().await else { return false };
        self.look.routes.replace(routes.clone()).is_some_and(|before| before != routes)
    }

    fn save_scope(&mut self, id: ScopeId) {
        let Some(scope) = self.core.scope(&id) else { return };
        let result = self.enroller.state.save_scope(&id, scope);
        if result.is_err() {
            self.troubles.unsaved.insert(id);
            self.save_again.get_or_insert(self.clock.now() + SAVE_AGAIN);
        }
        self.saved(result);
    }

    pub(super) fn touch(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

async fn changes(host: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match host {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
