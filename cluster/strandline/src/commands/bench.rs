//! `strandline bench`: several connections append generated call-detail records; rate and latencies at the end.

mod native;

use super::names::wanted_records;
use crate::calls::{Calls, Wanted};
use crate::cli::{Bench, Protocol};
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one connection measured.
struct Measured {
    latency_us: Histogram<u64>,
    bytes: u64,
    events: u64,
    overloaded: u64,
}

impl Measured {
    fn new() -> Result<Self, Failure> {
        Ok(Self { latency_us: histogram()?, bytes: 0, events: 0, overloaded: 0 })
    }

    fn add(&mut self, one: &Self) -> Result<(), Failure> {
        self.latency_us.add(&one.latency_us).map_err(|e| Failure::Server(e.to_string()))?;
        self.bytes += one.bytes;
        self.events += one.events;
        self.overloaded += one.overloaded;
        Ok(())
    }
}

pub(crate) fn run(options: &Bench) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let wanted = wanted_records(&client)?;
    match options.protocol {
        Protocol::Native => native::run(options, &client, &wanted),
        Protocol::Http if options.callers > 1 => {
            Err(Failure::Usage("--callers is of the native protocol: HTTP has one request on a connection".to_owned()))
        }
        Protocol::Http => over_http(options, &client, &wanted),
    }
}

fn over_http(options: &Bench, client: &Client, wanted: &Wanted) -> Result<(), Failure> {
    let path = client.store_path(&["events"])?;
    let bar = ProgressBar::new(options.events);
    if !out::watched() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let taken = AtomicU64::new(0);
    let began = Instant::now();
    let results: Vec<Result<Measured, Failure>> = std::thread::scope(|scope| {
        let connection = |number| {
            let (path, bar, taken) = (path.clone(), &bar, &taken);
            scope.spawn(move || connection(options, number, &path, wanted, bar, taken))
        };
        let running: Vec<_> = (0..options.connections).map(connection).collect();
        running
            .into_iter()
            .map(|c| c.join().unwrap_or_else(|_| Err(Failure::Server("a connection panicked".to_owned()))))
            .collect()
    });
    let took = began.elapsed();
    bar.finish_and_clear();
    let mut all = Measured::new()?;
    for result in results {
        all.add(&result?)?;
    }
    report(options, &all, took)
}

/// The longest request that is told apart, in microseconds: one hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

fn histogram() -> Result<Histogram<u64>, Failure> {
    // with bounds of its own: one without would take what is longer than it has room for as its largest value
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).map_err(|e| Failure::Server(e.to_string()))
}

/// One connection owns its share of the streams, so that their order is the connection's.
fn connection(
    options: &Bench,
    number: u64,
    path: &str,
    wanted: &Wanted,
    bar: &ProgressBar,
    taken: &AtomicU64,
) -> Result<Measured, Failure> {
    let client = Client::new(&options.on)?;
    let share = (options.streams / options.connections).max(1);
    let mut calls = Calls::new(options.seed.wrapping_add(number), number * share, share, wanted);
    let mut measured = Measured::new()?;
    let mut body = String::new();
    loop {
        let before = taken.fetch_add(options.batch, Ordering::Relaxed);
        let count = options.batch.min(options.events.saturating_sub(before));
        if count == 0 {
            return Ok(measured);
        }
        body.clear();
        (0..count).for_each(|_| calls.line(&mut body));
        append(&client, path, &body, &mut measured)?;
        measured.events += count;
        measured.bytes += body.len() as u64;
        bar.inc(count);
    }
}

fn append(client: &Client, path: &str, body: &str, measured: &mut Measured) -> Result<(), Failure> {
    let request = Request {
        path: path.to_owned(),
        body: Some(body.as_bytes()),
        content_type: "application/x-ndjson",
        ..Request::default()
    };
    loop {
        let began = Instant::now();
        let answer = client.send_now(&request)?;
        if answer.status == 429 {
            measured.overloaded += 1;
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        answer.ok()?;
        measured.latency_us.saturating_record(began.elapsed().as_micros() as u64);
        return Ok(());
    }
}

fn report(options: &Bench, all: &Measured, took: Duration) -> Result<(), Failure> {
    let seconds = took.as_secs_f64().max(1e-6);
    out::line(&format!(
        "{} events of {} bytes in {seconds:.2} s over {} connections, {} events a request, {} streams",
        all.events,
        all.bytes.checked_div(all.events).unwrap_or(0),
        options.connections,
        options.batch,
        options.streams,
    ))?;
    let rate = all.events as f64 / seconds;
    out::line(&format!("rate     {rate:.0} events/s, {}/s", out::size((all.bytes as f64 / seconds) as u64)))?;
    let at = |quantile: f64| all.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    out::line(&format!(
        "latency  p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms (of one request)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        all.latency_us.max() as f64 / 1000.0,
    ))?;
    if all.overloaded > 0 {
        out::line(&format!(
            "overload {} requests were answered with \"overloaded\" (429) and sent again",
            all.overloaded
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_told_as_long() {
        let mut one = histogram().unwrap();
        let mut all = histogram().unwrap();
        [900, 50_000, 12_000_000].iter().for_each(|us| one.saturating_record(*us));
        all.add(&one).unwrap();
        let near = |found: u64, wanted: u64| found.abs_diff(wanted) <= wanted / 500;
        assert!(near(all.max(), 12_000_000) && near(all.value_at_quantile(0.5), 50_000), "{all:?}");
    }
}
