//! Addresses in texts: URLs, `host:port` and host names that a variable, an argument or a config map holds.

/// An address that a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address<'text> {
    /// The scheme, such as `https`; empty without one.
    pub(crate) scheme: &'text str,
    /// The host name or address, without brackets.
    pub(crate) host: &'text str,
    /// The port that is written, or the scheme's own.
    pub(crate) port: Option<u16>,
}

/// Every address in `text`. A word alone counts only with a scheme or a port.
pub(crate) fn addresses(text: &str) -> Vec<Address<'_>> {
    let separator = |character: char| {
        character.is_whitespace()
            || matches!(
                character,
                '"' | '\'' | ',' | ';' | '(' | ')' | '<' | '>' | '`' | '|'
            )
    };
    text.split(separator)
        .flat_map(|word| {
            // `--url=http://x` and `KEY=host:1` hold the address behind the sign, unless the sign is in its query.
            let scheme_at = word.find("://").unwrap_or(word.len());
            let start = word
                .get(..scheme_at)
                .and_then(|before| before.rfind('='))
                .map_or(0, |equals| equals + 1);
            word.get(start..).and_then(address)
        })
        .take(MAX_ADDRESSES)
        .collect()
}

fn address(word: &str) -> Option<Address<'_>> {
    let (scheme, rest) = word.split_once("://").unwrap_or(("", word));
    let authority = rest
        .split(['/', '?', '#'])
        .next()
        .map(|whole| whole.rsplit('@').next().unwrap_or(whole))?;
    let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
        let (host, rest) = inside.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" | "hf" | "s3" | "gs" | "ngc" | "oci" => Some(443),
            "grpc" | "" => None,
            "redis" => Some(6379),
            "postgres" | "postgresql" => Some(5432),
            "nats" => Some(4222),
            _ => None,
        },
    };
    let known_by_itself = !scheme.is_empty() || port.is_some();
    let legal = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_'));
    // `nvidia.com/gpu: 1` and `image:8000`-like words need a letter; a bare number is a time or a size.
    let named = host.bytes().any(|byte| byte.is_ascii_alphabetic()) || is_ip(host);
    (known_by_itself && legal && named && !word.starts_with('/')).then_some(Address {
        scheme,
        host,
        port,
    })
}

/// Whether `host` is an address and no name.
pub(crate) fn is_ip(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

/// Whether `host` never leaves the pod.
pub(crate) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Whether `host` names the service `name` of `namespace` when it is said in the namespace `from`.
pub(crate) fn names_service(host: &str, name: &str, namespace: &str, from: &str) -> bool {
    let mut parts = host.splitn(3, '.');
    if parts.next() != Some(name) {
        return false;
    }
    match (parts.next(), parts.next()) {
        (None, _) => namespace == from,
        (Some(second), None) => second == namespace,
        (Some(second), Some(rest)) => {
            second == namespace && (rest == "svc" || rest.starts_with("svc."))
        }
    }
}

const MAX_ADDRESSES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<(String, Option<u16>)> {
        addresses(text)
            .into_iter()
            .map(|address| (address.host.to_owned(), address.port))
            .collect()
    }

    #[test]
    fn addresses_are_found_in_variables_arguments_and_scripts() {
        assert_eq!(said("http://llm:8000/v1"), [("llm".to_owned(), Some(8000))]);
        assert_eq!(
            said("--backend=grpc://triton.serving.svc:8001"),
            [("triton.serving.svc".to_owned(), Some(8001))]
        );
        assert_eq!(
            said("curl -L https://example.com/m?x=http://b 'redis:6379'"),
            [
                ("example.com".to_owned(), Some(443)),
                ("redis".to_owned(), Some(6379)),
            ]
        );
        assert_eq!(
            said("https://user:pass@[2001:db8::1]:8443/"),
            [("2001:db8::1".to_owned(), Some(8443))]
        );
        assert_eq!(said("hf://org/model"), [("org".to_owned(), Some(443))]);
    }

    #[test]
    fn words_that_are_no_addresses_are_left() {
        for text in [
            "redis",
            "10:30",
            "a=b",
            "/models/x:1",
            "nvidia.com/gpu",
            "--port 8000",
            "key: value",
        ] {
            assert!(said(text).is_empty(), "{text}: {:?}", said(text));
        }
    }

    #[test]
    fn a_service_is_named_within_its_namespace_or_in_full() {
        assert!(names_service("llm", "llm", "a", "a"));
        assert!(!names_service("llm", "llm", "a", "b"));
        assert!(names_service("llm.a", "llm", "a", "b"));
        assert!(names_service("llm.a.svc.cluster.local", "llm", "a", "b"));
        assert!(!names_service("llm.a.example.com", "llm", "a", "b"));
    }
}
