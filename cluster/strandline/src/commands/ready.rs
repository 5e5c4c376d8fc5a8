//! `strandline ready`: whether a node takes requests, for health checks of containers and services.
//!
//! It finds the node as `serve` places it (`--http`, STRANDLINE_HTTP), plain or with TLS, and needs neither a token nor an authority:
//! it asks `GET /ready`, which is open to everybody, sends no secret, and learns none. So it shows no token, and checks a certificate
//! only by authorities that it was given.

use crate::client::{Client, Request, Trust};
use crate::exit::Failure;
use crate::out;
use clap::Args;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time that a node gets for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Between two looks with `--wait`.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Options of `ready`.
#[derive(Args, Debug)]
pub(crate) struct Ready {
    /// Address of the server, with http:// or https:// (without: that of --http, plain or with TLS as it answers)
    #[arg(long)]
    url: Option<String>,
    /// The address that `serve --http` has
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070", value_parser = crate::value::address)]
    http: SocketAddr,
    /// The authorities that the server's certificate must be of (PEM; without: it is not checked, since nothing secret is sent)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Ask again for so long, until the node is ready (`30s`, `5m`)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = crate::span::parse)]
    wait: Duration,
}

pub(crate) fn run(options: &Ready) -> Result<(), Failure> {
    let trust = options.tls_ca.as_deref().map_or(Trust::Anybody, Trust::Authorities);
    let urls = match &options.url {
        Some(url) => vec![(url.clone(), trust)],
        // an authority is for where TLS is spoken
        None => [("http", Trust::Nobody), ("https", trust)]
            .map(|(scheme, trust)| (format!("{scheme}://{}", here(options.http)), trust))
            .to_vec(),
    };
    let clients = urls.iter().map(|(url, trust)| Client::without_token(url, *trust)).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    loop {
        match ask(&clients) {
            Err(failure) if began.elapsed() >= options.wait || matches!(failure, Failure::Usage(_)) => {
                return Err(failure);
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
            Ok(body) => return told(&body),
        }
    }
}

/// The address at which a listener on all addresses is reached from its own machine.
fn here(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// The first answer of a node. Where none answers, the first failure says why: a port that nobody listens on is the same for both.
fn ask(clients: &[Client]) -> Result<Value, Failure> {
    let mut first = None;
    for client in clients {
        let request = Request { path: "/ready".to_owned(), answer_within: Some(ANSWER_WITHIN), ..Request::default() };
        match client.send_now(&request) {
            // it answers, and says that it is not ready
            Ok(answer) if answer.status == 503 => return Err(Failure::No(answer.error_text())),
            Ok(answer) => match answer.ok() {
                Ok(answer) if answer.json()["status"] == "ready" => return Ok(answer.json()),
                Ok(_) => first = first.or_else(|| Some(Failure::Server(format!("{} is no node", client.url())))),
                Err(failure) => first = first.or(Some(failure)),
            },
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    Err(first.unwrap_or_else(|| Failure::Usage("no address to ask".to_owned())))
}

/// What it cannot do all the same, it says to those who may hear it.
fn told(body: &Value) -> Result<(), Failure> {
    for (what, rows) in body.as_object().into_iter().flatten().filter(|(what, _)| *what != "status") {
        for row in rows.as_array().into_iter().flatten() {
            out::note(&format!("{what}: {}", out::cell(row)));
        }
    }
    out::line("ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listens, at) in
            [("0.0.0.0:7070", "127.0.0.1:7070"), ("[::]:1", "[::1]:1"), ("10.0.0.7:7070", "10.0.0.7:7070")]
        {
            assert_eq!(here(listens.parse().unwrap()), at.parse::<SocketAddr>().unwrap());
        }
    }
}
