use super::*;

const UUID: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

#[test]
fn each_id_has_one_spelling() {
    let upper = UUID.to_uppercase();
    let simple = UUID.replace('-', "");
    assert!(GroupId::parse(&format!("ng_{UUID}")).is_ok());
    for bad in ["", "ng_", UUID, &format!("ng_{upper}"), &format!("ng_{simple}"), &format!("ng_{UUID}x")] {
        assert!(GroupId::parse(bad).is_err(), "{bad}");
    }
    assert!(OwnerId::parse(&format!("orga_{UUID}")).is_ok());
    assert!(OwnerId::parse(&format!("user_{UUID}")).is_ok());
    assert!(OwnerId::parse(&format!("team_{UUID}")).is_err());
    assert!(PeerId::parse(UUID).is_ok());
    assert!(PeerId::parse(&format!("external_{UUID}")).is_ok());
    assert!(PeerId::parse(&format!("app_{UUID}")).is_err());
}

#[test]
fn members_take_the_id_of_any_resource_that_fits_a_dns_label() {
    for good in ["app_1", &format!("app_{UUID}"), &format!("postgresql_{UUID}"), &format!("external_{UUID}")]
    {
        assert!(MemberId::parse(good).is_ok(), "{good}");
    }
    let longest = format!("app_{}", "a".repeat(MAX_ID - "app_".len()));
    assert!(MemberId::parse(&longest).is_ok());
    let long = format!("{longest}a");
    for bad in ["app", "_1", "1app_x", "App_x", "app_", "app_a.b", "app_a b", "app_é", long.as_str()] {
        assert!(MemberId::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_say_what_was_expected_and_cut_long_text() {
    let error = NodeId::parse(&"x".repeat(5000)).unwrap_err();
    assert!(error.to_string().ends_with("is not a node id (node_<uuid>)"), "{error}");
    assert!(error.to_string().len() < 120);
}

#[test]
fn token_ids_survive_bytes() {
    let id = TokenId::from_bytes([0, 1, 2, 3, 4, 5, 6, 255]);
    assert_eq!(id.as_str(), "00010203040506ff");
    assert_eq!(id.to_bytes(), [0, 1, 2, 3, 4, 5, 6, 255]);
}
