//! Domain names and labels that clients choose.

use lacis_proto::Code;

use super::World;

/// What a wish for a member of the first group comes to: the name, or the code of the refusal.
fn outcome(world: &mut World, id: &str, domain: &str) -> Result<String, Code> {
    world.link(id, None, Some(domain)).map_err(|problem| {
        assert_eq!(problem.field.as_deref(), Some("domainName"), "{problem}");
        problem.code
    })?;
    let members = &world.state.groups[&world.group].members;
    Ok(members.values().find(|member| member.id.as_str() == id).unwrap().domain.clone())
}

#[test]
fn a_domain_name_is_under_a_suffix_and_plain() {
    let mut world = World::new();
    let group = world.group.to_string();
    let canonical = format!("app_1.m.{group}.lacis.internal");
    let legacy = format!("app_1.m.{group}.cc-ng.cloud");
    let good = [
        ("web.lacis.internal", "web.lacis.internal"),
        ("WEB.Lacis.Internal.", "web.lacis.internal"),
        ("a.b.c.lacis.internal", "a.b.c.lacis.internal"),
        (&canonical, &canonical),
        (&legacy, &legacy),
    ];
    for (asked, kept) in good {
        assert_eq!(outcome(&mut world, "app_1", asked).as_deref(), Ok(kept), "{asked}");
    }
    let long = format!("{}.lacis.internal", "a.".repeat(130));
    let bad = [
        "",
        ".",
        "web",
        "lacis.internal",
        ".lacis.internal",
        "web..lacis.internal",
        "-web.lacis.internal",
        "web-.lacis.internal",
        "web.example.com",
        "weblacis.internal",
        "wéb.lacis.internal",
        "\u{440}\u{430}.lacis.internal",
        "web\u{202e}.lacis.internal",
        "we b.lacis.internal",
        "*.lacis.internal",
        "app_1.m.ng_00000000-0000-4000-8000-000000000000.cc-ng.cloud",
        "web.cc-ng.cloud",
        &long,
    ];
    for asked in bad {
        assert_eq!(outcome(&mut world, "app_1", asked), Err(Code::BadRequest), "{asked:?}");
    }
}

#[test]
fn a_domain_name_is_nobody_elses() {
    let mut world = World::new();
    let group = world.group.to_string();
    world.link("app_1", Some("Web"), Some("shop.lacis.internal")).unwrap();
    let other = world.new_group(None);
    world.ask(other).unwrap();
    let taken = [
        "shop.lacis.internal".to_owned(),
        "Shop.lacis.internal".to_owned(),
        format!("app_1.m.{group}.lacis.internal"),
        format!("app_2.p.{group}.lacis.internal"),
        "x.ng_00000000-0000-4000-8000-000000000000.lacis.internal".to_owned(),
        "web.main.lacis.internal".to_owned(),
        "main.lacis.internal".to_owned(),
    ];
    for asked in taken {
        assert_eq!(outcome(&mut world, "app_2", &asked), Err(Code::NameTaken), "{asked}");
    }
    assert!(outcome(&mut world, "app_1", "web.main.lacis.internal").is_ok(), "its own name by label");
    assert!(outcome(&mut world, "app_2", "db.main.lacis.internal").is_ok(), "nobody has that label");
}

#[test]
fn a_label_shows_what_it_holds() {
    let mut world = World::new();
    let long = "é".repeat(128);
    for good in ["web", "Ünïcode", "日本", "a b", &long] {
        world.link("app_1", Some(good), None).unwrap();
    }
    let longer = "a".repeat(129);
    let wide = "日".repeat(128);
    let hidden =
        ["a\u{200b}b", "a\u{202e}b", "a\u{2066}b", "\u{feff}a", "a\u{e0041}", "a\u{ad}b", "a\u{3164}"];
    for bad in ["", " ", "a\nb", "a\0b", "\u{1b}[31m", "\u{7f}", &longer, &wide].into_iter().chain(hidden) {
        let problem = world.link("app_1", Some(bad), None).unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::BadRequest, Some("label")), "{bad:?}");
    }
}
