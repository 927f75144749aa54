//! The examples of RFC 5849 and of a client, and headers that are none.

use super::*;

#[test]
fn the_base_string_of_the_rfc_is_ours() {
    // RFC 5849 §3.4.1.1, with the parameters of its body in the query, where ours are.
    let header = Header::parse(
        r#"realm="Example", oauth_consumer_key="9djdj82h48djs9d2", oauth_token="kkk9d7dh3k39sjv7",
        oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="7d8f3e4a",
        oauth_signature="djosJKDKJSD8743243%2Fjdk33klY%3D""#,
    )
    .unwrap();
    let signed = Signed {
        method: "post",
        scheme: "http",
        host: "EXAMPLE.COM:80",
        path: "/request",
        query: "b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2&a3=2+q",
    };
    let expected = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D\
        %26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a\
        %26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7";
    assert_eq!(header.base_string(&signed), expected);
}

#[test]
fn a_signature_of_the_rfc_verifies_and_no_other() {
    // RFC 5849 §1.2: the request for the photograph.
    let signature = "MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D";
    let header = |signature: &str| {
        let text = format!(
            "oauth_consumer_key=\"dpf43f3p2l4k3l03\",oauth_token=\"nnch734d00sl2jdk\",\
             oauth_signature_method=\"HMAC-SHA1\",oauth_timestamp=\"137131202\",oauth_nonce=\"chapoH\",\
             oauth_signature=\"{signature}\""
        );
        Header::parse(&text).unwrap()
    };
    let signed = Signed {
        method: "GET",
        scheme: "http",
        host: "photos.example.net",
        path: "/photos",
        query: "file=vacation.jpg&size=original",
    };
    let secrets = (Some("kd94hf93k423kf44"), "pfkkdhi9sl3r4s00");
    assert!(header(signature).verifies(&signed, secrets.0, secrets.1));
    assert!(!header(signature).verifies(&signed, secrets.0, "pfkkdhi9sl3r4s01"));
    assert!(!header(signature).verifies(&signed, Some("x"), secrets.1));
    assert!(!header(signature).verifies(&signed, None, secrets.1));
    assert!(!header(signature).verifies(&Signed { method: "PUT", ..signed }, secrets.0, secrets.1));
    assert!(!header(signature).verifies(
        &Signed { query: "file=vacation.jpg", ..signed },
        secrets.0,
        secrets.1
    ));
    assert!(!header("%%%").verifies(&signed, secrets.0, secrets.1));
}

#[test]
fn plaintext_is_meant_where_no_method_is_named() {
    let text = "oauth_consumer_key=\"key\", oauth_token=\"token\", oauth_signature=\"one%26two\"";
    let header = Header::parse(text).unwrap();
    assert_eq!((header.method, header.token.as_str()), (Method::Plaintext, "token"));
    let signed = Signed { method: "GET", scheme: "https", host: "x", path: "/", query: "" };
    assert!(header.verifies(&signed, None, "two"));
    assert!(header.verifies(&signed, Some("one"), "two"));
    assert!(!header.verifies(&signed, Some("other"), "two"));
    assert!(!header.verifies(&signed, None, "three"));
}

#[test]
fn odd_headers_are_refused_or_read_as_they_are() {
    for bad in ["", "x", "oauth_token=\"a\"", "oauth_signature=\"a\"", &"a=b,".repeat(40)] {
        assert!(Header::parse(bad).is_err(), "{bad}");
    }
    let odd = "oauth_token=\"a\", oauth_signature=\"b\", oauth_signature_method=\"RSA-SHA1\"";
    assert!(Header::parse(odd).unwrap_err().contains("HMAC-SHA1"));
    for text in ["%", "%2", "%zz", "a%c3%28", "%+1"] {
        let _ = decode(text);
    }
    assert_eq!(decode("%41%zz%"), "A%zz%");
}

#[test]
fn a_header_of_very_many_parts_is_none() {
    let header = |more: usize| {
        let parts = (0..more).map(|n| format!(", x{n}=\"y\"")).collect::<String>();
        Header::parse(&format!("oauth_token=\"t\", oauth_signature=\"s\"{parts}"))
    };
    assert!(header(MAX_PARAMS - 2).is_ok());
    assert_eq!(header(MAX_PARAMS - 1).unwrap_err(), "the OAuth header has too many parts");
}
