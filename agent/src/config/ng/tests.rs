use clap::{CommandFactory as _, Parser as _};

use super::{access::lifetime, *};
use crate::config::{Cli, Command};

fn parse(line: &str) -> Manage {
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let Command::Ng(args) = cli.command else { panic!("{line} is not of ng") };
    let Some(NgCommand::Manage(command)) = args.command else { panic!("{line} needs no control") };
    *command
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_words_of_the_platform_are_understood() {
    let Manage::Create(args) = parse("lacis ng create shop --link app_1,postgresql_2 --tags a,b") else {
        panic!()
    };
    assert_eq!((args.label.as_deref(), args.link.len()), (Some("shop"), 2));
    assert_eq!(args.tags, Some(vec!["a".to_owned(), "b".to_owned()]));
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let Manage::Create(args) = parse(&format!("lacis ng create external phone shop {key}")) else { panic!() };
    let Some(CreateOther::External { label, group, public_key }) = args.other else { panic!() };
    assert_eq!((label.as_str(), group.group.as_str()), ("phone", "shop"));
    assert_eq!(public_key.to_string(), key);
    let Manage::Delete(args) = parse("lacis ng delete external phone shop --dry-run") else { panic!() };
    let Some(DeleteOther::External(args)) = args.other else { panic!() };
    assert!(args.removal.dry_run);
    let Manage::Get(args) = parse("lacis ng get shop --type externalpeer -F json --org orga_1") else {
        panic!()
    };
    assert_eq!(args.r#type, Some(Kind::ExternalPeer));
}

#[test]
fn options_that_say_nothing_or_too_much_are_refused() {
    for line in [
        "lacis ng create",
        "lacis ng edit shop",
        "lacis ng link shop",
        "lacis ng link App_1 shop",
        "lacis ng external create phone shop --generate --public-key x",
        "lacis ng create shop --wait 0",
        "lacis ng join-token create shop --expires soon",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn lifetimes_have_a_unit() {
    assert_eq!(lifetime("24h"), Ok(Lifetime(Some(86_400))));
    assert_eq!(lifetime("never"), Ok(Lifetime(None)));
    for bad in ["", "h", "24", "0h", "-1h", "1y", "99999999999999999999d", "1é"] {
        assert!(lifetime(bad).is_err(), "{bad}");
    }
}
