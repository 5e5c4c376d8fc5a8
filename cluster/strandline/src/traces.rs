//! Traces: the spans of `strandline_workers::spans`, sent to a collector by OTLP over HTTP. By the feature `otel` alone; a program
//! without it refuses to be asked for them.
//!
//! Spans wait in a bounded queue for a thread that sends them (2,048, every five seconds; OTEL_BSP_* change it): where the collector is slow
//! or away, spans are lost, and no request waits.

#[cfg(feature = "otel")]
mod client;
#[cfg(feature = "otel")]
mod otlp;

use tracing_subscriber::{Layer, Registry};

/// What takes events and spans on their way; each has its own filter.
pub(crate) type Told = Box<dyn Layer<Registry> + Send + Sync>;

#[cfg(feature = "otel")]
pub(crate) use otlp::{Traces, start};
#[cfg(not(feature = "otel"))]
pub(crate) use without::{Traces, start};

#[cfg(not(feature = "otel"))]
mod without {
    use super::Told;
    use crate::cli::ServeTold;
    use crate::exit::Failure;

    /// None are sent.
    pub(crate) struct Traces;

    /// No layer takes spans; traces that are asked for are refused.
    pub(crate) fn start(options: &ServeTold) -> Result<(Option<Told>, Traces), Failure> {
        if options.traces.is_some() {
            let text = "--traces: this program was built without traces; build one with them by \
                        `cargo install --path cluster/strandline --locked --features otel`";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok((None, Traces))
    }
}
