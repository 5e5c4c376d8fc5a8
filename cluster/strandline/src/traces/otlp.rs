//! From spans to the collector.

use super::Told;
use super::client::Client;
use crate::cli::ServeTold;
use crate::exit::Failure;
use crate::value::shown_url;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use strandline_workers::spans::TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;

/// Where the collector takes spans.
const PATH: &str = "/v1/traces";

/// Sends spans until it is dropped; then what waits is sent first.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
            tracing::warn!("the last traces may be lost: {error}");
        }
    }
}

/// The layer that takes the spans (none: nobody asked for traces), and what sends them.
pub(crate) fn start(options: &ServeTold) -> Result<(Option<Told>, Traces), Failure> {
    let Some(url) = &options.traces else { return Ok((None, Traces(None))) };
    let url = url.trim_end_matches('/');
    let client = Client::new(url, options.traces_ca.as_deref())?;
    // the option names the collector, or all of the address
    let endpoint = if url.ends_with(PATH) { url.to_owned() } else { format!("{url}{PATH}") };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
    let exporter = exporter.with_endpoint(endpoint).build();
    // its own words repeat the address
    let exporter = exporter.map_err(|_| {
        Failure::Usage(format!("--traces {}: it is no address that spans can be sent to", shown_url(url)))
    })?;
    let share = Sampler::TraceIdRatioBased(f64::from(options.traces_share) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource())
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("strandline"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        // nobody here asks OpenTelemetry which span is entered
        .with_context_activation(false)
        .with_tracked_inactivity(false);
    let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
    Ok((Some(layer.with_filter(ours).boxed()), Traces(Some(provider))))
}

/// Who sends: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say more.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name("strandline").build(),
    }
}
