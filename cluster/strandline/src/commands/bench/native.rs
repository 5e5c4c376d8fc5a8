//! The bench over the native protocol: batches are made by the client, single events are gathered by it.
//!
//! `--batch 1`: appends to streams, each on its own; more: bulk appends over many streams.

use super::{Measured, report};
use crate::calls::{Calls, STREAM_TYPE, Wanted};
use crate::cli::Bench;
use crate::client::Client as Http;
use crate::exit::Failure;
use crate::{native, out};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_client::{BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, Expected, OnError, Refused};
use strandline_event::ErrorKind;

/// How long a connection that broke is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after "overloaded".
const PAUSE: Duration = Duration::from_millis(20);

/// What all callers share.
struct Load {
    batch: u64,
    events: u64,
    taken: AtomicU64,
    wanted: Wanted,
    bar: ProgressBar,
}

pub(super) fn run(options: &Bench, http: &Http, wanted: &Wanted) -> Result<(), Failure> {
    let bar = ProgressBar::new(options.events);
    if !out::watched() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (batch, events, taken) = (options.batch, options.events, AtomicU64::new(0));
    let load = Arc::new(Load { batch, events, taken, wanted: wanted.clone(), bar });
    let to = native::options(http, &options.on, PATIENCE)?;
    let runtime = native::runtime()?;
    let began = Instant::now();
    let all = runtime.block_on(async {
        let callers = options.connections * options.callers;
        // a caller owns its share of the streams, so that their order is the caller's
        let share = (options.streams / callers).max(1);
        let mut running = Vec::new();
        for connection in 0..options.connections {
            let client = native::connect(to.clone()).await?;
            for caller in 0..options.callers {
                let number = connection * options.callers + caller;
                let calls = Calls::new(options.seed.wrapping_add(number), number * share, share, wanted);
                running.push(tokio::spawn(caller_of(client.clone(), Arc::clone(&load), calls)));
            }
        }
        let mut all = Measured::new()?;
        for caller in running {
            let measured = caller.await.map_err(|_| Failure::Server("a connection panicked".to_owned()))?;
            all.add(&measured?)?;
        }
        Ok::<_, Failure>(all)
    })?;
    load.bar.finish_and_clear();
    report(options, &all, began.elapsed())
}

async fn caller_of(client: Client, load: Arc<Load>, mut calls: Calls) -> Result<Measured, Failure> {
    let mut measured = Measured::new()?;
    loop {
        let before = load.taken.fetch_add(load.batch, Ordering::Relaxed);
        let count = load.batch.min(load.events.saturating_sub(before));
        if count == 0 {
            return Ok(measured);
        }
        let batch = batch(&mut calls, count, &load).map_err(Failure::Server)?;
        append(&client, &batch, &mut measured).await?;
        measured.events += count;
        measured.bytes += batch.bytes().len() as u64;
        load.bar.inc(count);
    }
}

fn batch(calls: &mut Calls, count: u64, load: &Load) -> Result<BatchBytes, String> {
    let unit = if load.batch == 1 { BatchUnit::Append } else { BatchUnit::Rows };
    let mut batch = BatchBuilder::new(STREAM_TYPE, unit);
    for _ in 0..count {
        batch.push(&calls.record().event(&load.wanted.demanded)).map_err(|e| e.to_string())?;
    }
    batch.finish().map_err(|e| e.to_string())
}

async fn append(client: &Client, batch: &BatchBytes, measured: &mut Measured) -> Result<(), Failure> {
    loop {
        let began = Instant::now();
        match send(client, batch).await {
            Ok(()) => {
                measured.latency_us.saturating_record(began.elapsed().as_micros() as u64);
                return Ok(());
            }
            Err(error) if error.kind() == Some(ErrorKind::Overloaded) => {
                measured.overloaded += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(native::failure(&error)),
        }
    }
}

async fn send(client: &Client, batch: &BatchBytes) -> Result<(), ClientError> {
    if batch.view().unit() == BatchUnit::Append {
        return client.append(batch.clone(), Expected::Any).await.map(drop);
    }
    let parts = client.append_bulk(std::slice::from_ref(batch), OnError::Abort).await?;
    let refused: Option<Refused> = parts.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |refused| Err(refused.into()))
}
