//! Names on the resolver address of the group, asked with `dig`.

use support::run;

use crate::lab::{Lab, Node, text};

#[track_caller]
fn short(node: &Node, arguments: &[&str]) -> Vec<String> {
    node.dig(&[&["+short"], arguments].concat())
}

#[track_caller]
fn says(node: &Node, arguments: &[&str], expected: &[&str]) {
    let output = node.dig(arguments).join("\n");
    for part in expected {
        assert!(output.contains(part), "{arguments:?} lacks {part:?}:\n{output}");
    }
}

#[test]
fn members_peers_and_labels_have_names_over_udp_and_tcp() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    let group = web.group();
    let (ng, peer) = (text(&group, "id"), &group["peers"][0]);
    let (member, id) = (text(peer, "member"), text(peer, "id"));
    let (v4, v6) = (text(peer, "address4"), text(peer, "address6"));
    for name in [
        format!("{member}.m.{ng}.lacis.internal"),
        format!("{member}.m.{ng}.cc-ng.cloud"),
        format!("{id}.p.{ng}.lacis.internal"),
        "db.main.lacis.internal".to_owned(),
        "DB.Main.LACIS.internal".to_owned(),
    ] {
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(short(&web, &[transport, &name, "A"]), std::slice::from_ref(&v4), "{name}");
            assert_eq!(short(&web, &[transport, &name, "AAAA"]), std::slice::from_ref(&v6), "{name}");
        }
    }
    for address in [v4, v6] {
        assert_eq!(short(&web, &["-x", &address]), [format!("{id}.p.{ng}.lacis.internal.")]);
    }
}

#[test]
fn the_zone_has_an_authority_and_says_no_in_the_right_way() {
    let (_lab, web, _db) = Lab::with_two_nodes();
    let ng = text(&web.group(), "id");
    let apex = format!("{ng}.lacis.internal");
    says(&web, &[&apex, "SOA"], &["status: NOERROR", "flags: qr aa", &format!("ns.{apex}.")]);
    says(&web, &[&apex, "NS"], &["status: NOERROR", &format!("ns.{apex}.")]);
    says(&web, &[&format!("nobody.{apex}"), "A"], &["status: NXDOMAIN", "SOA", "AUTHORITY: 1"]);
    says(&web, &["db.main.lacis.internal", "MX"], &["status: NOERROR", "ANSWER: 0", "SOA"]);
    says(&web, &["example.org", "A"], &["status: REFUSED"]);
    says(&web, &["db.main.lacis.internal", "A"], &["\t5\tIN"]);
}

#[test]
fn names_are_answered_over_ipv6_and_nothing_comes_of_garbage() {
    let (_lab, web, db) = Lab::with_two_nodes();
    let resolver = text(&web.group(), "resolver6");
    let garbage = format!(
        "import os,socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n\
         for n in range(2000): s.sendto(os.urandom(n % 600), ('{resolver}', 53))\n\
         t=socket.create_connection(('{resolver}', 53)); t.sendall(os.urandom(4000)); t.close()"
    );
    assert!(run(web.host.command("python3").args(["-c", &garbage])).status.success());
    let mut dig = web.host.command("dig");
    let output = run(dig.args([&format!("@{resolver}"), "+short", "db.main.lacis.internal", "A"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), text(&db.group(), "address4"));
}
