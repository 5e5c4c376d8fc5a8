//! `strandline-load`: load against a node that runs, in a closed or an open loop, and the latencies of it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use strandline_load::client::{Client, Failure};
use strandline_load::heads::Heads;
use strandline_load::http::Http;
use strandline_load::native::Native;
use strandline_load::pace::Pace;
use strandline_load::run::{Load, Measured, Tenths, appends};

/// Appends call records to a node that runs and reports rate and latencies. Every append carries the seq that it expects, so the streams
/// must be new: give another --first-stream for a second load of a store.
#[derive(Parser, Debug)]
#[command(name = "strandline-load", version)]
struct Options {
    /// Address of the node's native protocol; with --follow-leaders of several nodes, with commas between.
    #[arg(long, default_value = "127.0.0.1:7071")]
    native: String,
    /// Append at the node of a cluster that leads the stream type, instead of having it sent on.
    #[arg(long, conflicts_with = "over_http")]
    follow_leaders: bool,
    /// Stream types, each of them of as many clients as the others. In a cluster each is a log of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000), conflicts_with = "over_http")]
    types: u32,
    /// Address of the node's HTTP.
    #[arg(long, default_value = "127.0.0.1:7070")]
    http: String,
    /// Go over HTTP instead of the native protocol.
    #[arg(long)]
    over_http: bool,
    /// One native connection for all clients instead of one each: the client gathers single appends that wait together.
    #[arg(long, conflicts_with = "over_http")]
    shared: bool,
    /// The store.
    #[arg(long)]
    store: String,
    /// Clients, each with one request at a time and its own streams.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Events of a request; 1 goes the way of single appends.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Streams.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Number of the first stream.
    #[arg(long, default_value_t = 0)]
    first_stream: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Events a second that arrive whether the node keeps up or not (open loop). Without: each client sends when it has its answer (closed loop).
    #[arg(long)]
    rate: Option<f64>,
    /// A unique command id an event.
    #[arg(long)]
    command_ids: bool,
    /// Threads of the load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Seed of the records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("strandline-load: {failure}");
            ExitCode::from(3)
        }
    }
}

fn start(options: &Options) -> Result<(), Failure> {
    if options.streams < options.clients {
        return Err("each client needs a stream of its own: give at least as many --streams as --clients".into());
    }
    // ids have eight digits
    if options.first_stream.saturating_add(options.streams) > 100_000_000 {
        return Err("--first-stream and --streams together go to 100,000,000 at most".into());
    }
    if options.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err("--rate is a number of events a second above 0".into());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads as usize).enable_all().build()?;
    runtime.block_on(async {
        if options.over_http {
            let mut clients = Vec::new();
            for _ in 0..options.clients {
                clients.push(Http::connect(&options.http, &options.store).await?);
            }
            return load(options, clients).await;
        }
        let mut clients: Vec<Native> = Vec::new();
        for number in 0..options.clients {
            let client = match clients.first() {
                Some(first) if options.shared => first.clone(),
                _ => connect(options).await?,
            };
            clients.push(client.with_type(number % options.types));
        }
        load(options, clients).await
    })
}

async fn connect(options: &Options) -> Result<Native, Failure> {
    if options.follow_leaders {
        return Native::follow(options.native.split(','), &options.store).await;
    }
    Native::connect(&options.native, &options.store).await
}

async fn load<C: Client + 'static>(options: &Options, clients: Vec<C>) -> Result<(), Failure> {
    let heads = Heads::new(options.streams);
    let (batch, command_ids, first_stream) = (options.batch, options.command_ids, options.first_stream);
    let load = |seed| Load { seed, batch, command_ids, first_stream };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|_| "a duration is a number of seconds");
    let warmup = Pace::closed(seconds(options.warmup)?);
    // other command ids than those of the run
    let (clients, _) = appends(clients, &heads, load(!options.seed), &warmup).await?;
    let lasting = seconds(options.duration)?;
    let pace = match options.rate {
        Some(rate) => Pace::open(rate / f64::from(options.batch), lasting, options.clients, lasting),
        None => Pace::closed(lasting),
    };
    let (_, measured) = appends(clients, &heads, load(options.seed), &pace).await?;
    report(options, &measured, pace.finish());
    Ok(())
}

fn report(options: &Options, measured: &Measured, unsent: u64) {
    let (loop_kind, latency) = match options.rate {
        Some(rate) => (format!("open loop of {rate:.0} events/s"), "from the moment a request should have begun"),
        None => ("closed loop".to_owned(), "of one request"),
    };
    let protocol = match (options.over_http, options.shared, options.follow_leaders) {
        (true, ..) => "HTTP",
        (false, false, false) => "native, a connection each",
        (false, true, false) => "native, one connection",
        (false, false, true) => "native, a connection each to each leader",
        (false, true, true) => "native, one connection to each leader",
    };
    println!(
        "{} events in {:.2} s, {protocol}, {loop_kind}, {} clients, {} events a request, {} streams of {} types, command ids {}",
        measured.events,
        measured.took.as_secs_f64(),
        options.clients,
        options.batch,
        options.streams,
        options.types,
        if options.command_ids { "on" } else { "off" },
    );
    println!("rate     {:.0} events/s", measured.rate());
    if let Some(Tenths { first, last, slowest }) = measured.tenths() {
        println!("tenths   first {first:.0} events/s, last {last:.0} events/s, slowest {slowest:.0} events/s");
    }
    let at = |quantile| measured.latency.ms(quantile);
    println!(
        "latency  p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms ({latency})",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        measured.latency.max_ms(),
    );
    if measured.overloads > 0 {
        println!("overload {} requests were refused for load and sent again", measured.overloads);
    }
    if unsent > 0 {
        println!("unsent   {unsent} requests never began: the node does not keep up with the rate");
    }
}
