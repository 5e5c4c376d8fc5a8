//! Numbers and addresses as options take them; what is wrong is answered with what to give instead.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;

/// A whole number, from 0 on.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    whole(0..=u64::MAX)(text)
}

/// The id of a node of a cluster: they are numbered from 1.
pub(crate) fn node_id(text: &str) -> Result<u64, String> {
    whole(1..=u64::MAX)(text)
}

/// A whole number of a range, of the type that the option has.
pub(crate) fn whole<N: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<N, String> + Clone {
    move |text| {
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| match *range.end() {
            u64::MAX => format!("give a whole number from {} on", range.start()),
            end => format!("give a whole number from {} to {end}", range.start()),
        })
    }
}

/// A moment, as the server writes it.
pub(crate) fn moment(text: &str) -> Result<String, String> {
    let moment = strandline_event::time::parse_rfc3339(text);
    moment
        .map(strandline_event::time::to_rfc3339)
        .ok_or_else(|| "give a moment (RFC 3339) such as 2026-11-23T10:00:00Z".to_owned())
}

/// A version of the manifest, or a moment as the server writes it.
pub(crate) fn as_of(text: &str) -> Result<String, String> {
    let version = number(text).map(|version| version.to_string());
    version
        .or_else(|_| moment(text))
        .map_err(|_| "give a version of the manifest, or a moment (RFC 3339) such as 2026-11-23T10:00:00Z".to_owned())
}

/// Where to listen. An address of IPv4 may stand in brackets too: who fills in one of either kind, as a pod's, writes them around both.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let in_brackets = || {
        let (ip, port) = text.strip_prefix('[')?.split_once("]:")?;
        format!("{ip}:{port}").parse::<SocketAddrV4>().ok().map(SocketAddr::V4)
    };
    text.parse::<SocketAddr>().ok().or_else(in_brackets).ok_or_else(|| {
        "give an IP address and a port, such as 127.0.0.1:7070 or [::1]:7070 (a name such as localhost is none)"
            .to_owned()
    })
}

/// Where another node listens for nodes: a name or an address, and a port.
pub(crate) fn member(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_one = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bare_v6 = host.contains(':') && !host.starts_with('[');
        !host.is_empty() && !host.contains(['/', '@']) && !is_bare_v6 && is_port(port)
    });
    if is_one {
        return Ok(text.to_owned());
    }
    Err("give the --cluster address of a member, its name or IP address and its port, such as 127.0.0.1:7072, without http://"
        .to_owned())
}

/// A name or an address that stands in a certificate; the first part of a name may be `*`.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        matches!(part.len(), 1..=63)
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = text.len() <= 253
        && text.strip_prefix("*.").unwrap_or(text).split('.').all(is_part)
        // an address that is not whole is no name
        && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("give a name such as db.example or an IP address such as 10.0.0.7, without a port and without blanks; several with commas between them"
        .to_owned())
}

/// What is wrong with the address of a server, in words that follow it: it is `http://HOST:PORT`, or `https://`. A path may stand
/// behind it, for what passes requests on from there.
pub(crate) fn url_fault(url: &str) -> Option<&'static str> {
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")) else {
        return Some("it begins with http:// or https://");
    };
    if rest.contains(['?', '#']) {
        return Some("leave out what stands there from `?` or `#` on");
    }
    let authority = authority(rest);
    if authority.contains('@') {
        return Some("no name or password stands in it: give a token with --token, or in STRANDLINE_TOKEN");
    }
    let (host, port) = match authority.rsplit_once(':').filter(|_| !authority.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Some("the host is missing: it is http://HOST:PORT");
    }
    if host.contains(':') && !host.starts_with('[') {
        return Some("an IPv6 address stands in brackets: http://[::1]:7070");
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    port.filter(|port| !is_port(port)).map(|_| "its port is a number from 1 to 65535")
}

/// An address that is wrong, as an error names it: without what may be a password or a token in it.
pub(crate) fn shown_url(url: &str) -> String {
    let (hidden, rest) = url.rsplit_once('@').map_or(("", url), |(_, rest)| ("...@", rest));
    format!("{hidden}{}", rest.split(['?', '#']).next().unwrap_or(rest))
}

/// The address of the host alone, where a path stands behind it.
pub(crate) fn without_path(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let end = scheme.len() + "://".len() + authority(rest).len();
    url.get(..end).filter(|base| base.len() < url.trim_end_matches('/').len())
}

fn authority(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_no_secret_that_stands_in_an_address() {
        for (url, shown) in [
            ("http://me:planted@host:7070", "...@host:7070"),
            ("me:plan@ted@host", "...@host"),
            ("http://me:plan?ted@host/a", "...@host/a"),
            ("http://host:7070/?token=planted", "http://host:7070/"),
            ("http://host#planted", "http://host"),
            ("ftp://host", "ftp://host"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }

    #[test]
    fn a_number_has_its_range_and_type() {
        assert_eq!((number("0"), number("18446744073709551615")), (Ok(0), Ok(u64::MAX)));
        assert_eq!(whole::<u8>(1..=100)("100"), Ok(100));
        for wrong in ["-1", "1.5", "", "abc", "1 000", "18446744073709551616"] {
            assert_eq!(number(wrong), Err("give a whole number from 0 on".to_owned()), "{wrong}");
            assert_eq!(whole::<u8>(1..=7)(wrong), Err("give a whole number from 1 to 7".to_owned()), "{wrong}");
        }
        assert!(whole::<u64>(1..=7)("8").is_err() && whole::<u8>(1..=300)("299").is_err());
    }

    #[test]
    fn as_of_is_a_version_or_a_moment() {
        assert_eq!(as_of("12"), Ok("12".to_owned()));
        assert_eq!(as_of("2026-11-23T11:00:00+01:00"), Ok("2026-11-23T10:00:00Z".to_owned()));
        for wrong in ["", "-1", "yesterday", "2026-11-23"] {
            assert!(as_of(wrong).unwrap_err().starts_with("give a version of the manifest, or a moment"), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_sent_as_the_server_writes_it() {
        for same in ["2026-11-23T10:00:00Z", "2026-11-23T11:00:00+01:00", "2026-11-23T10:00:00.000Z"] {
            assert_eq!(moment(same), moment("2026-11-23T10:00:00Z"), "{same}");
            assert!(moment(same).is_ok(), "{same}");
        }
        for wrong in ["", "yesterday", "2026-11-23", "2026-11-23T10:00:00"] {
            assert!(moment(wrong).is_err_and(|told| told.contains("RFC 3339")), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_one_of_a_machine() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:7070").is_ok());
        for wrong in ["7070", "localhost:7070", ":7070", "127.0.0.1", "127.0.0.1:70000", "http://127.0.0.1:7070"] {
            assert!(address(wrong).is_err_and(|text| text.contains("127.0.0.1:7070")), "{wrong}");
        }
    }

    #[test]
    fn an_address_of_either_kind_may_stand_in_brackets() {
        for (given, meant) in [
            ("[10.0.0.7]:7073", "10.0.0.7:7073"),
            ("[fd00::7]:7073", "[fd00::7]:7073"),
            ("10.0.0.7:7073", "10.0.0.7:7073"),
        ] {
            assert_eq!(address(given).map(|address| address.to_string()).as_deref(), Ok(meant));
        }
        // without brackets nobody can say where the address of IPv6 ends
        for wrong in [
            "fd00::7:7073",
            "[10.0.0.7]",
            "[10.0.0.7:7073]",
            "[]:7073",
            "[10.0.0.7]7073",
            "[localhost]:7073",
            "[10.0.0.7]:+1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for right in
            ["localhost", "db-1.example", "*.db.example", "node_1", "7.example", "10.0.0.7", "::1", "2001:db8::7"]
        {
            assert_eq!(host(right).as_deref(), Ok(right));
        }
        let long = "a".repeat(64);
        for wrong in [
            "",
            "a b",
            " a",
            "a.",
            "a..b",
            ".a",
            "db:7070",
            "[::1]",
            "10.0.0",
            "*",
            "a.*.b",
            "ä.example",
            "http://a",
            &long,
        ] {
            assert!(host(wrong).is_err_and(|text| text.contains("db.example")), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        for right in [
            "http://127.0.0.1:7070",
            "http://127.0.0.1:7070/",
            "https://db.example",
            "http://[::1]:7070",
            "http://[::1]",
            "https://db.example/events/",
        ] {
            assert_eq!(url_fault(right), None, "{right}");
        }
        for (wrong, said) in [
            ("127.0.0.1:7070", "begins with"),
            ("ftp://127.0.0.1", "begins with"),
            ("http://", "host is missing"),
            ("http://:7070", "host is missing"),
            ("http://127.0.0.1:99999", "port is a number"),
            ("http://127.0.0.1:", "port is a number"),
            ("http://127.0.0.1:0", "port is a number"),
            ("http://::1:7070", "brackets"),
            ("http://me:secret@127.0.0.1:7070", "--token"),
            ("http://127.0.0.1:7070/?store=a", "from `?`"),
            ("http://127.0.0.1:7070/admin/#/overview", "`#` on"),
        ] {
            assert!(url_fault(wrong).is_some_and(|text| text.contains(said)), "{wrong}: {:?}", url_fault(wrong));
        }
    }

    #[test]
    fn the_host_alone_is_told_where_a_path_stands_behind_it() {
        assert_eq!(without_path("http://127.0.0.1:7070/v1/stores"), Some("http://127.0.0.1:7070"));
        assert_eq!(without_path("https://db.example/x/"), Some("https://db.example"));
        assert_eq!((without_path("http://127.0.0.1:7070"), without_path("http://127.0.0.1:7070/")), (None, None));
    }
}
