use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    resolv_conf::{Former, managed, manager, name_servers, restored},
    *,
};
use crate::{
    Zone,
    fixtures::{group, netmap, peer, small_group},
    interface_name,
};

const SERVERS: [&str; 2] = ["10.128.0.1", "fd00::1"];

fn servers() -> Vec<IpAddr> {
    SERVERS.iter().map(|server| server.parse().unwrap()).collect()
}

#[test]
fn the_file_names_the_agent_and_keeps_what_else_stood_in_it() {
    let former =
        Former::Text("# by hand\nnameserver 192.0.2.1\n nameserver  fe80::1%eth0\nsearch lan\n".into());
    let text = managed(&former, &servers(), 7);
    assert_eq!(name_servers(&text).collect::<Vec<_>>(), SERVERS);
    assert!(text.contains("\nsearch lan\n") && text.contains("# by hand\n"), "{text}");
    assert_eq!(manager(&text), Some(7));
    let before: Vec<_> = name_servers(former.text()).collect();
    assert_eq!(before, ["192.0.2.1", "fe80::1%eth0"]);
}

#[test]
fn links_and_missing_files_come_back_as_they_were() {
    let link = Former::Link { target: "../run/resolv.conf".into(), text: "nameserver 192.0.2.1\n".into() };
    for former in
        [link, Former::Missing, Former::Text(String::new()), Former::Text("nameserver 192.0.2.1".into())]
    {
        assert_eq!(restored(&managed(&former, &servers(), 1)), Some(former));
    }
}

#[test]
fn what_others_write_is_respected() {
    assert_eq!(restored("nameserver 192.0.2.9\n"), None, "replaced as a whole: not ours");
    let text = managed(&Former::Text("nameserver 192.0.2.1\n".into()), &servers(), 1);
    let added = format!("options rotate\n{text}search lan\n");
    let expected = "options rotate\nnameserver 192.0.2.1\nsearch lan\n";
    assert_eq!(restored(&added), Some(Former::Text(expected.into())));
    let torn = text.split("#lacis# end").next().unwrap();
    assert_eq!(restored(torn), None);
    let over_missing = managed(&Former::Missing, &servers(), 1) + "search lan\n";
    assert_eq!(restored(&over_missing), Some(Former::Text("search lan\n".into())));
}

#[test]
fn the_file_is_left_alone_where_it_leads_to_systemd_resolved() {
    for (runs, text, resolved, file) in [
        (true, "nameserver 127.0.0.53\noptions edns0 trust-ad\n", true, false),
        (true, "nameserver 192.0.2.1\n", true, true),
        (true, "nameserver 127.0.0.53\nnameserver 192.0.2.1\n", true, true),
        (true, "", true, true),
        (false, "nameserver 127.0.0.53\n", false, true),
        (false, "", false, true),
    ] {
        assert_eq!(ways(runs, text), Ways { resolved, file }, "{runs} {text:?}");
    }
}

#[test]
fn each_interface_is_asked_for_the_names_of_its_group_where_it_answers() {
    let of = |n| Arc::new(Zone::new(&netmap(n, &small_group(n)), Some(&peer(5))));
    let zones = Zones::new([of(1), of(2)], BTreeMap::new());
    let v4: IpAddr = "10.1.0.1".parse().unwrap();
    let answered = BTreeMap::from([
        (interface_name(&group(1)), BTreeSet::from([v4])),
        (interface_name(&group(2)), BTreeSet::new()),
    ]);
    let links = link_names(&zones, &answered);
    assert_eq!(
        links.keys().collect::<Vec<_>>(),
        [&interface_name(&group(1))],
        "one answers, the other does not"
    );
    let link = &links[&interface_name(&group(1))];
    assert_eq!(link.servers, [v4]);
    let id = group(1);
    for domain in [
        format!("{id}.lacis.internal"),
        format!("{id}.cc-ng.cloud"),
        "shop-1.lacis.internal".to_owned(),
        "1.10.in-addr.arpa".to_owned(),
        "lacis.internal".to_owned(),
    ] {
        assert!(link.domains.contains(&domain), "{domain}: {:?}", link.domains);
    }
    assert!(!link.domains.contains(&"cc-ng.cloud".to_owned()), "others have names there (DESIGN ruling 21)");
    assert_eq!(link.domains.iter().filter(|domain| domain.ends_with(".ip6.arpa")).count(), 1);
}

proptest! {
    #[test]
    fn restoring_gives_the_former_text_byte_for_byte(
        lines in proptest::collection::vec("(nameserver|search|#|;| nameserver|\\PC{0,6})[ \t]?[0-9a-f.:%]{0,12}\r?", 0..8),
        end in proptest::bool::ANY,
    ) {
        let text = lines.join("\n") + if end { "\n" } else { "" };
        prop_assume!(!text.contains("#lacis#"));
        let former = Former::Text(text);
        prop_assert_eq!(restored(&managed(&former, &servers(), 1)), Some(former));
    }

    #[test]
    fn no_text_panics(text in "(#lacis# (end|link x|missing|was: |managed by process 1)|\n|\\PC){0,30}") {
        let _ = (restored(&text), manager(&text), ways(true, &text));
    }
}
