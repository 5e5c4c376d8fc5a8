//! Traces: the spans of `strandline_workers::spans`, sent to a collector by OTLP over HTTP. By the feature `otel` alone; a program
//! without it refuses to be asked for them.
//!
//! Spans wait in a bounded queue for a thread that sends them (2,048, every five seconds; OTEL_BSP_* change it): where the collector is slow
//! or away, spans are lost, and no request waits.

#[cfg(feature = "otel")]
mod client;
#[cfg(feature = "otel")]
mod otlp;

#[cfg(feature = "otel")]
pub(crate) use otlp::{Traces, start};
#[cfg(not(feature = "otel"))]
pub(crate) use without::{Traces, start};

#[cfg(not(feature = "otel"))]
mod without {
    use crate::cli::ServeTold;
    use crate::exit::Failure;
    use tracing_subscriber::layer::Identity;

    /// None are sent.
    pub(crate) struct Traces;

    /// No layer, unless traces are asked for.
    pub(crate) fn start(options: &ServeTold) -> Result<(Identity, Traces), Failure> {
        if options.traces.is_some() {
            let text = "--traces: this program was built without traces; build one with them by \
                        `cargo install --path cluster/strandline --locked --features otel`";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok((Identity::new(), Traces))
    }
}
