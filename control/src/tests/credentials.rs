//! Credentials in all their forms, what they allow, and how often.

use ::http::{HeaderName, Method, header};
use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{
    api::Api,
    client::{Answer, config, start},
};
use crate::{Config, serve};

const CONSUMER: (&str, &str) = ("T5nFjKeHH4AIlEveuGhB5S3xg8T19e", "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT");

async fn with(api: &Api, path: &str, authorization: &str) -> Answer {
    let headers: &[(HeaderName, &str)] = &[(header::AUTHORIZATION, authorization)];
    api.client.with(Method::GET, path, headers, "").await
}

async fn new_token(api: &Api, wanted: Value) -> Value {
    api.post(&format!("/v4/networkgroups/organisations/{}/tokens", api.owner), &wanted).await.ok()
}

fn percent(text: &str) -> String {
    text.replace('%', "%25").replace('=', "%3D").replace('+', "%2B").replace('/', "%2F").replace('&', "%26")
}

/// A signed header, made as the platform's SDKs make it.
fn signed(
    method: &str,
    algorithm: hmac::Algorithm,
    host: &str,
    path: &str,
    pair: [&str; 2],
    at_s: u64,
) -> String {
    let params = format!(
        "oauth_consumer_key={}&oauth_nonce=n1&oauth_signature_method={method}&oauth_timestamp={at_s}&oauth_token={}\
         &oauth_version=1.0",
        CONSUMER.0, pair[0]
    );
    let url = format!("https://{host}{path}").replace(':', "%3A").replace('/', "%2F");
    let base = format!("GET&{url}&{}", percent(&params));
    let key = hmac::Key::new(algorithm, format!("{}&{}", CONSUMER.1, pair[1]).as_bytes());
    let signature = percent(&STANDARD.encode(hmac::sign(&key, base.as_bytes())));
    let parts: Vec<String> = params
        .split('&')
        .map(|part| part.split_once('=').map(|(name, value)| format!("{name}=\"{value}\"")).unwrap())
        .collect();
    format!("OAuth {}, oauth_signature=\"{signature}\"", parts.join(", "))
}

#[tokio::test]
async fn a_token_is_shown_as_bearer_or_by_oauth_in_header_or_query() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let made = new_token(&api, json!({"access": "write", "label": "ci"})).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (bearer, id, secret) = (text("token"), text("clever_token"), text("clever_secret"));
    let plain = |consumer: &str, secret: &str| {
        format!(
            "OAuth oauth_consumer_key=\"{consumer}\", oauth_token=\"{id}\", oauth_signature=\"{}%26{secret}\"",
            CONSUMER.1
        )
    };
    let now_s = crate::clock::unix_ms() / 1_000;
    let sign = |method: &str, algorithm, at_s| {
        signed(method, algorithm, "localhost", &api.base, [&id, &secret], at_s)
    };
    let sha1 = sign("HMAC-SHA1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, now_s);
    let sha512 = sign("HMAC-SHA512", hmac::HMAC_SHA512, now_s);
    let good = [
        format!("Bearer {bearer}"),
        format!("bearer {bearer}"),
        plain(CONSUMER.0, &secret),
        plain("another", &secret),
        sha1.clone(),
        sha512.clone(),
    ];
    for shown in &good {
        assert_eq!(with(&api, &api.base, shown).await.status, 200, "{shown}");
        let padded = STANDARD.encode(shown);
        for form in [percent(&padded), padded, URL_SAFE_NO_PAD.encode(shown)] {
            let path = format!("{}?authorization={form}", api.base);
            let answer = api.client.with(Method::GET, &path, &[], "").await;
            assert_eq!(answer.status, 200, "{shown} in the query");
        }
    }
    let bad = [
        String::new(),
        "Basic eDp5".to_owned(),
        "Bearer".to_owned(),
        format!("Bearer {id}"),
        format!("Bearer {}x", bearer),
        plain(CONSUMER.0, &secret[1..]),
        plain(CONSUMER.0, ""),
        "OAuth".to_owned(),
        format!("OAuth oauth_token=\"{id}\""),
        sign("HMAC-SHA512", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, now_s),
        sign("HMAC-SHA1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, now_s - 3_600),
        sha512.replace(CONSUMER.0, "another"),
    ];
    for shown in &bad {
        let answer = with(&api, &api.base, shown).await;
        assert_eq!(answer.problem().status, 401, "{shown}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    assert_eq!(with(&api, &api.group, &sha512).await.problem().status, 401, "signed for another path");
    let stored = std::fs::read(folder.path().join("data/control.db")).unwrap();
    assert!(
        !stored.windows(secret.len()).any(|window| window == secret.as_bytes()),
        "the secret is not stored"
    );
    running.shutdown().await;
}

#[tokio::test]
async fn a_configured_consumer_is_the_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let consumers = vec![("mine".to_owned(), "hush".to_owned())];
    let running = serve(Config { consumers, ..config(&folder) }).await.unwrap();
    let api = Api::new(&running);
    let made = new_token(&api, json!({"access": "read"})).await;
    let (id, secret) = (made["clever_token"].as_str().unwrap(), made["clever_secret"].as_str().unwrap());
    for (consumer, consumer_secret, status) in
        [("mine", "hush", 200), ("mine", "other", 401), (CONSUMER.0, CONSUMER.1, 401)]
    {
        let shown = format!(
            "OAuth oauth_consumer_key=\"{consumer}\", oauth_token=\"{id}\", \
             oauth_signature=\"{consumer_secret}%26{secret}\""
        );
        assert_eq!(with(&api, &api.base, &shown).await.status, status, "{consumer}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_token_does_what_it_says_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut api = Api::new(&running);
    let other: Value = api.post(&api.base, &json!({"label": "other"})).await.ok();
    let other = other["id"].as_str().unwrap().to_owned();
    let first = running.ready.group.to_string();
    let read = new_token(&api, json!({"access": "READ", "groups": [first], "expiresInS": 3600})).await;
    let one = new_token(&api, json!({"access": "write", "groups": [first]})).await;
    let tokens = format!("/v4/networkgroups/organisations/{}/tokens", api.owner);
    let all = std::mem::replace(&mut api.token, read["token"].as_str().unwrap().to_owned());

    assert_eq!(api.get(&api.base).await.ok::<Value>().as_array().unwrap().len(), 1);
    assert_eq!(api.get(&format!("{}/{other}", api.base)).await.problem().status, 404);
    assert_eq!(api.get(&format!("{}/search?query={other}", api.base)).await.ok::<Value>(), json!([]));
    let refused = api.post(&format!("{}/members", api.group), &json!({"id": "app_1"})).await.problem();
    assert_eq!(refused.status, 403);
    assert_eq!(api.get(&tokens).await.problem().status, 403);

    api.token = one["token"].as_str().unwrap().to_owned();
    api.post(&format!("{}/members", api.group), &json!({"id": "app_1"})).await.ok::<Value>();
    assert_eq!(api.post(&api.base, &json!({"label": "more"})).await.problem().status, 403);
    assert_eq!(
        api.post(&tokens, &json!({"access": "write"})).await.problem().status,
        403,
        "no token makes a greater one"
    );

    api.token = all;
    let listed: Value = api.get(&tokens).await.ok();
    let used = listed.as_array().unwrap().iter().find(|row| row["id"] == one["id"]).unwrap();
    assert!(
        used["lastUsedMs"].is_u64() && used.get("token").is_none() && used.get("clever_secret").is_none()
    );
    let path = format!("{tokens}/{}", one["id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.delete(&path).await.problem().status, 404);
    api.token = one["token"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&api.base).await.problem().status, 401);
    running.shutdown().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let mut told = None;
    for _ in 0..300 {
        let answer = with(&api, &api.base, "Bearer lacis_api_guess").await;
        if answer.status == 429 {
            told = Some(answer);
            break;
        }
    }
    let told = told.expect("guesses are limited");
    assert!(told.headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(told.problem().code, lacis_proto::Code::RateLimited);
    assert_eq!(api.get(&api.base).await.status, 200, "who shows a token is not a stranger");
    running.shutdown().await;
}
