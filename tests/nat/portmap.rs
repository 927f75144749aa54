//! An agent gets a port of its gateway, by each protocol, and gives it back.

use std::time::Duration;

use support::eventually;

use crate::{
    gateway::{Mapper, Speaks},
    kind::Kind,
    mesh::Mesh,
    site::Site,
};

fn check(speaks: Speaks) {
    if !Mapper::is_installed() {
        return;
    }
    let mut mesh = Mesh::new(Duration::ZERO);
    let site = Site::new(&mut mesh.internet, 1, Kind::Random);
    let mapper = Mapper::start(&site, mesh.dir.path(), speaks);
    let mut node = mesh.joined(site.client(), "home", &["--port", "41000"]);
    let lease = "UDP:41000:10.0.1.2:41000:";
    eventually("the port is mapped", || mapper.leases().contains(lease).then_some(()));
    node.stop();
    eventually("and given back", || (!mapper.leases().contains("41000")).then_some(()));
    node.options.push("--no-portmap".to_owned());
    node.up(None);
    assert!(!node.log().contains("panicked"));
}

#[test]
fn a_gateway_of_pcp_maps_the_tunnels_port_until_the_agent_ends() {
    check(Speaks::Pcp);
}

#[test]
fn a_gateway_of_upnp_maps_the_tunnels_port_until_the_agent_ends() {
    check(Speaks::Upnp);
}
