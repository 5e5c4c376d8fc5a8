//! What Strandline is put through: the six workloads, and what only it is asked for.
//!
//! ```text
//!  empty     one client, 64 clients, batches (compaction paused)
//!  log       in the round over HTTP only: more batches until the log has 1 GB, restart after a stop, restart after SIGKILL
//!            64 clients: p99 without, then with a compaction of everything beside them
//!  mixed     streams of 100 events written and read (memory), scan (Parquet, log)
//!  Parquet   compaction of the rest, bytes; restart: the same streams read from Parquet
//!  more      natively only: batches, then more of them beside the compaction of those
//! ```

use crate::engines::strandline::{Ending, Over, OverNative, Protocol, Strandline};
use crate::sheet::{Figure, ratio};
use crate::targets::RESTART_LOG_MB;
use crate::trial::{BATCH, MANY, Trial};
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
        restarts(trial, node)?;
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
    node.restart(Ending::Stop)?;
    let cold = trial.streams_read(&Over::<P>::of(node))?;
    trial.add(Figure::ColdStream, cold);
    Ok(())
}

/// Fillings of a log before a restart at most: by then it has its size, or something takes it away.
const FILLINGS_MAX: usize = 5;

/// Starts with a log that is as large as the target wants, whatever the batches before have brought. Compaction is paused, and stays so.
fn restarts(trial: &mut Trial<'_>, node: &mut Strandline) -> Result<(), Failure> {
    let mut smallest = u64::MAX;
    for (ending, figure) in [(Ending::Stop, Figure::Restart), (Ending::Kill, Figure::RestartKilled)] {
        smallest = smallest.min(filled(trial, node)?);
        let took = node.restart(ending)?;
        trial.add(figure, took.as_secs_f64());
    }
    trial.add(Figure::RestartLog, smallest as f64 / 1e6);
    Ok(())
}

/// Appends batches until the log has its size; the bytes that it has then. Natively, because that is over soonest: how they came does not show
/// in the log.
fn filled(trial: &mut Trial<'_>, node: &Strandline) -> Result<u64, Failure> {
    for _ in 0..FILLINGS_MAX {
        let log = trial.runtimes.one.block_on(node.log_bytes())?;
        let events = missing_events(log, trial.events());
        if events == 0 {
            return Ok(log);
        }
        trial.batches_of(&Over::<OverNative>::of(node), &Pace::requests(events.div_ceil(u64::from(BATCH))))?;
    }
    trial.runtimes.one.block_on(node.log_bytes())
}

/// Events that a log lacks, by what each took so far, and some more. What an event takes is believed within bounds only, so that no filling
/// goes on for long.
fn missing_events(log_bytes: u64, events: u64) -> u64 {
    let wanted = RESTART_LOG_MB as u64 * 1_000_000;
    let lacking = wanted.saturating_sub(log_bytes);
    if lacking == 0 {
        return 0;
    }
    let an_event = (log_bytes / events.max(1)).clamp(150, 300);
    lacking / an_event * 51 / 50 + u64::from(BATCH)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_filled_to_its_size_and_not_far_beyond() {
        let wanted = RESTART_LOG_MB as u64 * 1_000_000;
        for an_event in [160, 205, 290] {
            for events in [0, 3_000_000] {
                let (mut log, mut fillings) = (events * an_event, 0);
                let mut all = events;
                while missing_events(log, all) > 0 {
                    let more = missing_events(log, all);
                    (log, all, fillings) = (log + more * an_event, all + more, fillings + 1);
                }
                assert!(log >= wanted && log < wanted * 2, "{log} with {an_event} an event");
                assert!(fillings <= FILLINGS_MAX, "{fillings}");
            }
        }
        assert_eq!(missing_events(wanted, 9), 0);
        // a log that was trimmed says nothing about its events
        assert!(missing_events(0, 90_000_000) < 7_000_000);
    }
}
