//! The HTTP client of the exporter: the one of the commands, in the exporter's own thread, which may block.

use crate::client::tls;
use crate::exit::Failure;
use crate::value::shown_url;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A collector that answers later is given up: the next spans wait.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: it says little.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Sends to the collector.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
    /// The log has told that nobody answers.
    is_told: AtomicBool,
}

impl Client {
    /// A client for this address.
    pub(super) fn new(url: &str, authorities: Option<&Path>) -> Result<Self, Failure> {
        let usage = |text: &str| Err(Failure::Usage(format!("--traces {}: {text}", shown_url(url))));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // a proxy for the internet must not come between us and a collector beside us
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("strandline/", env!("CARGO_PKG_VERSION")));
        let config = match (url.split_once("://").map(|(scheme, _)| scheme), authorities) {
            (Some("http"), None) => config.build(),
            (Some("http"), Some(_)) => return usage("--traces-ca is for an https:// address"),
            (Some("https"), Some(authorities)) => config.tls_config(tls("--traces-ca", authorities)?).build(),
            (Some("https"), None) => {
                return usage("name the authority of the collector's certificate with --traces-ca FILE");
            }
            _ => return usage("it begins with http:// or https://"),
        };
        Ok(Self { agent: config.into(), is_told: AtomicBool::new(false) })
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }

    /// Tells once that spans are lost, and once that they arrive again.
    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let trouble = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_told = self.is_told.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !was_told => tracing::warn!("traces are lost: the collector does not take them: {why}"),
            None if was_told => tracing::warn!("the collector takes traces again"),
            _ => {}
        }
    }
}

impl HttpClient for Client {
    /// Blocks: whoever calls is the exporter's thread.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.send(request);
            self.tell(&sent);
            sent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_without_a_password() {
        for url in ["ftp://me:planted@host", "https://me:planted@host", "me:planted@host"] {
            let error = Client::new(url, None).err().unwrap();
            let told = error.text().unwrap();
            assert!(told.contains("--traces ...@host") && !told.contains("planted"), "{told}");
        }
    }
}
