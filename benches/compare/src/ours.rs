//! What Strandline is put through: the six workloads, and what only it is asked for.
//!
//! ```text
//!  empty     one client, 64 clients, batches (compaction paused)
//!  log       restart over HTTP only: a log of that size to replay
//!            64 clients: p99 without, then with a compaction of everything beside them
//!  mixed     streams of 100 events written and read (memory), scan (Parquet, log)
//!  Parquet   compaction of the rest, bytes; restart: the same streams read from Parquet
//!  more      natively only: batches, then more of them beside the compaction of those
//! ```

use crate::engines::strandline::{Over, Protocol, Strandline};
use crate::sheet::{Figure, ratio};
use crate::trial::{MANY, Trial};
use std::time::{Duration, Instant};
use strandline_load::client::Failure;
use strandline_load::pace::Pace;
use strandline_load::run::Measured;

/// Asks for an action of the compaction and waits until it is done.
fn compaction(node: &Strandline, trial: &Trial<'_>, action: &str) -> Result<(), Failure> {
    trial.runtimes.one.block_on(Strandline::compaction(node.http(), action))
}

/// All of it, by one protocol.
pub(crate) fn trial<P: Protocol>(trial: &mut Trial<'_>, node: &mut Strandline, restart: bool) -> Result<(), Failure> {
    trial.one_client(&Over::<P>::of(node))?;
    trial.many_clients(&Over::<P>::of(node))?;
    compaction(node, trial, "pause")?;
    trial.batches(&Over::<P>::of(node))?;
    if restart {
        let log = trial.runtimes.one.block_on(node.log_bytes())?;
        trial.add(Figure::RestartLog, log as f64 / 1e6);
        let took = node.restart()?;
        trial.add(Figure::Restart, took.as_secs_f64());
        compaction(node, trial, "pause")?;
    }
    let quiet = trial.singles(&Over::<P>::of(node), MANY, None)?;
    trial.add(Figure::QuietP99, quiet.latency.ms(0.99));
    compaction(node, trial, "resume")?;
    while_compacting::<P>(trial, node)?;
    trial.streams_to_read(&Over::<P>::of(node))?;
    let hot = trial.streams_read(&Over::<P>::of(node))?;
    trial.add(Figure::Stream, hot);
    trial.scan(&Over::<P>::of(node))?;
    compaction(node, trial, "run?wait=true")?;
    trial.on_disk(&Over::<P>::of(node))?;
    let sidecars = node.sidecar_bytes()? as f64 / trial.events() as f64;
    trial.add(Figure::Sidecars, sidecars);
    trial.add(Figure::Memory, node.memory_bytes()? as f64 / 1e6);
    trial.add(Figure::Streams, trial.streams_begun() as f64);
    node.restart()?;
    let cold = trial.streams_read(&Over::<P>::of(node))?;
    trial.add(Figure::ColdStream, cold);
    Ok(())
}

/// Batches whose events have a command id each, in a store that checks them by stream.
pub(crate) fn with_command_ids<P: Protocol>(trial: &mut Trial<'_>, node: &Strandline) -> Result<(), Failure> {
    trial.command_ids = true;
    let runtime = &trial.runtimes.one;
    runtime.block_on(Strandline::compaction(node.http(), "pause"))?;
    trial.batches(&Over::<P>::of(node))
}

/// Batches for as long as another workload, and again beside the compaction of what they brought. Last, because nothing else shall meet
/// what they leave.
pub(crate) fn batches_while_compacting<P: Protocol>(trial: &mut Trial<'_>, node: &Strandline) -> Result<(), Failure> {
    let lasting = trial.plan.lasting;
    // by hand alone: it goes also while all others are held
    compaction(node, trial, "pause")?;
    let quiet = trial.batches_of(&Over::<P>::of(node), &Pace::closed(lasting))?;
    let (beside, _) = beside_compaction(trial, node, (lasting, AtTheLatest::Leave), |trial, pace| {
        trial.batches_of(&Over::<P>::of(node), pace)
    })?;
    trial.add(Figure::BatchesQuiet, quiet.rate());
    if let Some(kept) = ratio(beside.rate(), quiet.rate()).filter(|_| beside.events > 0) {
        trial.add(Figure::BatchesCompacting, beside.rate());
        trial.add(Figure::BatchesKept, kept);
    }
    Ok(())
}

/// So long single appends are sent beside a compaction at most.
const BESIDE: Duration = Duration::from_secs(40);

/// 64 clients for as long as a compaction of everything takes, up to [`BESIDE`]; beside them its merges would take minutes.
fn while_compacting<P: Protocol>(trial: &mut Trial<'_>, node: &Strandline) -> Result<(), Failure> {
    let (beside, took) = beside_compaction(trial, node, (BESIDE, AtTheLatest::Wait), |trial, pace| {
        trial.singles(&Over::<P>::of(node), MANY, Some(pace))
    })?;
    trial.add(Figure::Compaction, took.as_secs_f64());
    if beside.latency.count() > 0 {
        trial.add(Figure::CompactingP99, beside.latency.ms(0.99));
    }
    Ok(())
}

/// What becomes of a compaction when clients have sent beside it for as long as they may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AtTheLatest {
    /// Its end is waited for.
    Wait,
    /// Nobody waits: the node ends next.
    Leave,
}

/// What clients measure beside a compaction of everything, by a pace that ends with it, or after a time. And how long that compaction took, as
/// far as it was waited for.
fn beside_compaction(
    trial: &mut Trial<'_>,
    node: &Strandline,
    (at_most, then): (Duration, AtTheLatest),
    measure: impl FnOnce(&mut Trial<'_>, &Pace) -> Result<Measured, Failure>,
) -> Result<(Measured, Duration), Failure> {
    let (pace, http) = (Pace::until_told(), node.http().to_owned());
    let (told, runtime) = (pace.clone(), trial.runtimes.two.handle().clone());
    let compacting = std::thread::spawn(move || -> Result<Duration, Failure> {
        let began = Instant::now();
        let done = runtime.block_on(async {
            let mut compaction = std::pin::pin!(Strandline::compaction(&http, "run?wait=true"));
            let ended = tokio::time::timeout(at_most, &mut compaction).await;
            // also after a failure: the clients wait for it
            told.tell();
            match ended {
                Ok(done) => done,
                Err(_) if then == AtTheLatest::Leave => Ok(()),
                Err(_) => compaction.await,
            }
        });
        done.map(|()| began.elapsed())
    });
    let beside = measure(trial, &pace);
    let took = compacting.join().map_err(|_| "the thread of the compaction ended early")??;
    Ok((beside?, took))
}
