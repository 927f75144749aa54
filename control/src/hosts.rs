//! Addresses of this host, and the URLs under which agents may reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::TryStreamExt as _;
use lacis_proto::{JoinToken, MAX_TOKEN_URLS};
use rtnetlink::packet_route::{address::AddressAttribute, link::LinkAttribute};

/// Text that cannot be the public address of control.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} cannot be a public URL: {reason}; write https://HOST[:PORT] and nothing behind it")]
pub struct UrlError {
    /// The text.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks what `--public-url` names.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_public_urls(urls: &[String]) -> Result<(), UrlError> {
    for url in urls {
        let wrong = |reason| Err(UrlError { url: url.clone(), reason });
        let Some(rest) = url.strip_prefix("https://") else {
            return wrong("it does not begin with https://");
        };
        if rest.trim_end_matches('/').contains('/') {
            return wrong("it has a path");
        }
        if !JoinToken::is_url(url) || host_of(url).is_none() {
            return wrong("it names no host");
        }
    }
    match urls.get(MAX_TOKEN_URLS) {
        Some(url) => Err(UrlError { url: url.clone(), reason: "a join token has room for 16 of them only" }),
        None => Ok(()),
    }
}

/// The addresses of control that a token carries: the public ones, else the listening address, else every
/// address of the host, loopback only where there is nothing else.
pub(crate) fn urls(public: &[String], listen: SocketAddr, host: &[IpAddr]) -> Vec<String> {
    if !public.is_empty() {
        return public.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    }
    let port = listen.port();
    if !listen.ip().is_unspecified() {
        return vec![url(listen.ip(), port)];
    }
    let reachable = host.iter().filter(|ip| !ip.is_loopback() && (listen.is_ipv6() || ip.is_ipv4()));
    let mut urls: Vec<String> = reachable.map(|ip| url(*ip, port)).take(MAX_TOKEN_URLS).collect();
    if urls.is_empty() {
        urls.push(url(Ipv4Addr::LOCALHOST.into(), port));
    }
    urls
}

/// The names that the leaf certificate carries (DESIGN ruling 26).
pub(crate) fn names(urls: &[String], host: &[IpAddr]) -> Vec<String> {
    let fixed = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
    let mut names: Vec<String> = fixed
        .into_iter()
        .chain(host.iter().map(ToString::to_string))
        .chain(urls.iter().filter_map(|url| host_of(url)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Every usable address of this host, IPv4 first; without link-local ones and those of overlays.
pub(crate) async fn addresses() -> Vec<IpAddr> {
    match read_addresses().await {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this host");
            Vec::new()
        }
    }
}

async fn read_addresses() -> Result<Vec<IpAddr>, std::io::Error> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let failed = |error: rtnetlink::Error| std::io::Error::other(error.to_string());
    let links: Vec<_> = handle.link().get().execute().try_collect().await.map_err(failed)?;
    let is_overlay = |index: u32| {
        links.iter().filter(|link| link.header.index == index).any(|link| {
            // Overlay interfaces of an agent on this host have this prefix (DESIGN §6).
            link.attributes
                .iter()
                .any(|a| matches!(a, LinkAttribute::IfName(name) if name.starts_with("lcs")))
        })
    };
    let found: Vec<_> = handle.address().get().execute().try_collect().await.map_err(failed)?;
    connection.abort();
    let mut addresses: Vec<IpAddr> = found
        .iter()
        .filter(|message| !is_overlay(message.header.index))
        .filter_map(|message| {
            let local = message.attributes.iter().find_map(|attribute| {
                if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None }
            });
            local.or_else(|| {
                message.attributes.iter().find_map(|attribute| {
                    if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None }
                })
            })
        })
        .filter(|ip| !is_link_local(*ip))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn url(ip: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(ip, port))
}

/// The host that an address of control names.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let authority: http::uri::Authority = url.strip_prefix("https://")?.trim_end_matches('/').parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls_say_what_is_wrong_with_them() {
        for good in ["https://a", "https://a.example:8443/", "https://192.0.2.1", "https://[2001:db8::1]:1"] {
            assert_eq!(check_public_urls(&[good.to_owned()]), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("http://a", "begin with https"),
            ("a", "begin with https"),
            ("https://", "names no host"),
            ("https://a/b", "has a path"),
            ("https://a b", "names no host"),
            ("https://u@a", "names no host"),
        ] {
            let error = check_public_urls(&[bad.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("https://h{n}")).collect();
        assert!(check_public_urls(&many).is_err());
    }

    #[test]
    fn a_token_carries_what_agents_can_reach() {
        let host: Vec<IpAddr> =
            ["127.0.0.1", "192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap()).to_vec();
        let any: SocketAddr = "[::]:8443".parse().unwrap();
        assert_eq!(urls(&[], any, &host), ["https://192.0.2.7:8443", "https://[2001:db8::7]:8443"]);
        let any4: SocketAddr = "0.0.0.0:8443".parse().unwrap();
        assert_eq!(urls(&[], any4, &host), ["https://192.0.2.7:8443"]);
        let one: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(urls(&[], one, &host), ["https://127.0.0.1:1"]);
        assert_eq!(urls(&[], any, &host[..1]), ["https://127.0.0.1:8443"]);
        assert_eq!(urls(&["https://c.example/".to_owned()], any, &host), ["https://c.example"]);
        assert!(names(&["https://c.example:1".to_owned()], &host).contains(&"c.example".to_owned()));
    }
}
