//! What is said of files that clients have.

use super::*;

fn gateways(endpoint: Option<&str>, clients: u64) -> Gateways {
    let endpoint = endpoint.map(str::to_owned);
    Gateways { key: Some("KEY".to_owned()), endpoint, clients, gateways: Vec::new() }
}

fn group() -> Group {
    serde_json::from_value(json!({"id": "ng_1", "label": "shop", "networkIp": "10.0.0.0/16"})).unwrap()
}

#[test]
fn a_gateway_that_goes_leaves_files_true_only_where_they_name_another() {
    let after = |before, after| files_after_removing(&gateways(before, 2), &gateways(after, 2), &group());
    assert_eq!(after(Some("a:1"), Some("a:1")), "files of clients stay true");
    assert!(after(Some("a:1"), Some("b:1")).contains("`Endpoint = b:1`"));
    assert!(after(Some("a:1"), None).contains("the files of 2 plain clients lead nowhere"));
}

#[test]
fn the_first_gateway_makes_files_from_before_false_and_another_one_does_not() {
    let after = |before, after, clients| {
        files_after_adding(&gateways(before, clients), &gateways(after, clients), &group())
    };
    assert!(after(None, Some("a:1"), 3).unwrap().contains("each of the 3 needs a new file"));
    assert_eq!(after(None, Some("a:1"), 0), None);
    assert_eq!(after(Some("a:1"), Some("a:1"), 3), None);
    assert!(after(Some("a:1"), Some("b:1"), 3).unwrap().contains("those that name a:1 stay true"));
}

#[test]
fn a_gateway_is_up_only_where_clients_get_in() {
    let found = |serving, connected, endpoint: Option<&str>| {
        let value = json!({"peerId": "p", "label": "edge", "serving": serving, "connected": connected});
        let found: GatewayPeer = serde_json::from_value(value).unwrap();
        state_of(&GatewayPeer { endpoint: endpoint.map(str::to_owned), ..found })
    };
    assert_eq!(found(true, true, Some("a:1")), "up");
    assert_eq!(found(true, true, None), "not dialled");
    assert_eq!(found(true, false, Some("a:1")), "away");
    assert_eq!(found(false, true, Some("a:1")), "has no key yet");
}
