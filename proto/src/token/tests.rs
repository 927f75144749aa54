use proptest::prelude::*;

use super::*;

fn token() -> JoinToken {
    JoinToken {
        id: TokenId::from_bytes([1; 8]),
        secret: Secret::new([2; 32]),
        pins: vec![Pin::try_new([3; 32]).unwrap()],
        urls: vec!["https://192.0.2.1:8443".into(), "https://[2001:db8::1]:8443".into()],
    }
}

#[track_caller]
fn refused(text: &str) -> TokenError {
    text.parse::<JoinToken>().unwrap_err()
}

#[test]
fn a_join_token_survives_its_text() {
    let text = token().to_string();
    assert_eq!(text.parse(), Ok(token()));
    assert_eq!(format!("  {text}\n").parse(), Ok(token()));
}

#[test]
fn damage_is_told_from_other_mistakes() {
    let text = token().to_string();
    assert!(matches!(refused("hello"), TokenError::Prefix { .. }));
    assert!(matches!(refused("lacis_api_0011223344556677_x"), TokenError::Prefix { .. }));
    assert_eq!(refused(&text.replace("AQ", "A Q")), TokenError::Characters);
    assert_eq!(refused(JOIN_TOKEN_PREFIX), TokenError::Damaged);
    assert_eq!(refused(&format!("{JOIN_TOKEN_PREFIX}{}", "A".repeat(MAX_TOKEN_TEXT))), TokenError::TooLong);
    for cut in JOIN_TOKEN_PREFIX.len()..text.len() {
        assert_eq!(refused(&text[..cut]), TokenError::Damaged, "{cut}");
    }
}

#[test]
fn a_newer_format_says_so() {
    let mut bytes = token().to_bytes();
    bytes.truncate(bytes.len() - 4);
    bytes[0] = 9;
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    let text = format!("{JOIN_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(refused(&text), TokenError::Version { found: 9 });
}

#[test]
fn only_https_addresses_lead_to_control() {
    for good in ["https://a", "https://a.example:8443", "https://[::1]:1/", "https://10.0.0.1:443"] {
        assert!(JoinToken::is_url(good), "{good}");
    }
    let longest = format!("https://{}", "a".repeat(MAX_URL - "https://".len()));
    assert!(JoinToken::is_url(&longest) && !JoinToken::is_url(&format!("{longest}a")));
    for bad in [
        "",
        "a",
        "http://a",
        "https://",
        "https:///",
        "https://a/b",
        "https://u@a",
        "https://a b",
        "https://a?x",
    ] {
        assert!(!JoinToken::is_url(bad), "{bad}");
    }
    let urls = vec!["http://a".to_owned()];
    assert_eq!(refused(&JoinToken { urls, ..token() }.to_string()), TokenError::Content);
    assert_eq!(refused(&JoinToken { urls: vec![], ..token() }.to_string()), TokenError::Content);
}

#[test]
fn debug_hides_the_secret() {
    assert!(format!("{:?}", token()).contains("Secret(…)"));
}

#[test]
fn an_api_token_survives_its_text() {
    let token = ApiToken { id: TokenId::from_bytes([7; 8]), secret: Secret::new([8; 32]) };
    assert_eq!(token.to_string().parse(), Ok(token));
    for bad in
        ["", "lacis_api_", "lacis_api_0011223344556677", "lacis_api_0011223344556677_AAAA", "lacis_api_x_y"]
    {
        assert!(bad.parse::<ApiToken>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn text_soup_never_panics(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = text.parse::<JoinToken>();
        let _ = text.parse::<ApiToken>();
        let _ = JoinToken::from_bytes(&bytes);
        let mut checked = bytes.clone();
        checked.extend(crc32fast::hash(&bytes).to_be_bytes());
        let _ = JoinToken::from_bytes(&checked);
    }
}
