//! Has the host's resolver ask for the names of the groups that are up.

use std::{collections::BTreeMap, net::IpAddr};

use lacis_agent_core::{Degradation, link_names};
use tokio::sync::watch;

use super::{HostDns, Options, run::Running};
use crate::{
    dns::Forwarder,
    host::{
        guard::{Link, Wanted},
        resolver::{Guarding, HostResolver},
    },
    status::NamesStatus,
};

/// Starts to look after the host's resolver, where that is wanted, and to ask its former servers.
pub(super) fn start(options: &Options, has_host: bool) -> (Option<HostResolver>, Forwarder) {
    let (upstream, servers) = watch::channel(Vec::new());
    let forwarder = Forwarder::new(servers);
    let keeps = has_host && options.dns == HostDns::Host;
    let guarding = Guarding { helper: options.helper.clone(), resolv_conf: options.resolv_conf.clone() };
    let names = keeps.then(|| HostResolver::start(guarding, upstream));
    if keeps {
        tokio::spawn(forwarder.clone().watch_for_loops());
    }
    (names, forwarder)
}

impl Running {
    /// Says which names are answered where, as of now.
    pub(super) fn tell_resolver(&self) {
        let Some(names) = &self.names else { return };
        let (indices, answered): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .overlay
            .answered()
            .map(|(interface, index, addresses)| ((interface.clone(), index), (interface, addresses)))
            .unzip();
        let links = link_names(self.core.zones(), &answered);
        let links = links.into_iter().filter_map(|(interface, link)| {
            let index = indices.get(&interface)?;
            Some((*index, Link { servers: link.servers, domains: link.domains }))
        });
        names.want(Wanted { links: links.collect() });
    }

    /// How the host's programs come to ask this agent.
    pub(super) fn names_status(&self) -> NamesStatus {
        let managed = self.names.as_ref().map(HostResolver::managed).unwrap_or_default();
        NamesStatus {
            resolved: managed.resolved,
            file: managed.file,
            by_hand: (self.options.dns == HostDns::Manual).then(|| self.any_resolver()).flatten(),
            upstream: self.forwarder.upstream(),
        }
    }

    /// What keeps the host's programs from asking this agent.
    pub(super) fn names_trouble(&self) -> Vec<Degradation> {
        let mut all: Vec<Degradation> =
            self.forwarder.looping().into_iter().map(|server| Degradation::UpstreamLoop { server }).collect();
        let managed = self.names.as_ref().filter(|names| names.is_wanted()).map(HostResolver::managed);
        let trouble = managed.and_then(|managed| managed.trouble);
        all.extend(trouble.map(|reason| Degradation::NamesByHand { reason, resolver: self.any_resolver() }));
        all
    }

    fn any_resolver(&self) -> Option<IpAddr> {
        self.overlay.answered().find_map(|(_, _, addresses)| addresses.first().copied())
    }
}
