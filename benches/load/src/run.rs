//! The loops of a run: clients that append until the pace ends, each with its own streams, histogram and buffers.

use crate::client::{Client, Failure};
use crate::heads::Heads;
use crate::latency::Latency;
use crate::pace::Pace;
use crate::records::{Batch, Calls};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the clients send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Of the records.
    pub seed: u64,
    /// Events of an append; 1 goes the way of single appends, with the expected seq.
    pub batch: u32,
    /// A unique command id an event.
    pub command_ids: bool,
    /// Number of the first stream.
    pub first_stream: u32,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Of acknowledged appends.
    pub latency: Latency,
    /// Acknowledged.
    pub events: u64,
    /// Refused for load and sent again.
    pub overloads: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of batches: when each was acknowledged, from the beginning of the run.
    done: Vec<(Duration, u32)>,
}

impl Measured {
    /// Events a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// Rates along a run of batches. `None`: too short to tell.
    #[must_use]
    pub fn tenths(&self) -> Option<Tenths> {
        let mut done = self.done.clone();
        done.sort_unstable();
        let (mut rates, mut rest, mut before) = (Vec::with_capacity(10), &done[..], Duration::ZERO);
        for left in (1..=10).rev() {
            let (part, behind) = rest.split_at(rest.len() / left);
            let end = part.last()?.0;
            let events: f64 = part.iter().map(|(_, events)| f64::from(*events)).sum();
            rates.push(events / (end - before).as_secs_f64().max(1e-9));
            (rest, before) = (behind, end);
        }
        let slowest = rates.iter().copied().reduce(f64::min)?;
        Some(Tenths { first: *rates.first()?, last: *rates.last()?, slowest })
    }
}

/// Events a second of tenths of a run, by the order in which its batches were acknowledged: whether the rate drops along it, and how
/// far it sinks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tenths {
    /// Of the first.
    pub first: f64,
    /// Of the last.
    pub last: f64,
    /// Of the slowest of all ten.
    pub slowest: f64,
}

/// Appends with all clients until the pace ends, and gives the clients back. A request that fails ends the run.
///
/// # Errors
/// An append failed.
pub async fn appends<C: Client + 'static>(
    clients: Vec<C>,
    heads: &Heads,
    load: Load,
    pace: &Pace,
) -> Result<(Vec<C>, Measured), Failure> {
    let (count, began) = (clients.len() as u32, Instant::now());
    let mut running = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let calls = Calls::new(load.seed, number, count, heads).from_stream(load.first_stream);
        let calls = if load.command_ids { calls.with_command_ids() } else { calls };
        running.spawn(one_client(client, calls, load.batch, pace.clone(), began));
    }
    let mut all = Measured::default();
    let mut back = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (client, one) = ended??;
        back.push(client);
        all.latency.add(&one.latency);
        all.events += one.events;
        all.overloads += one.overloads;
        all.done.extend(one.done);
    }
    all.took = began.elapsed();
    Ok((back, all))
}

async fn one_client<C: Client>(
    mut client: C,
    mut calls: Calls,
    count: u32,
    pace: Pace,
    began: Instant,
) -> Result<(C, Measured), Failure> {
    let (mut measured, mut batch) = (Measured::default(), Batch::default());
    while let Some(begin) = pace.next().await {
        batch.clear();
        (0..count).for_each(|_| calls.add(&mut batch));
        match (count, batch.records().next()) {
            (1, Some(record)) => client.append(record).await?,
            _ => client.append_batch(&batch).await?,
        }
        measured.latency.record(begin.elapsed());
        measured.events += u64::from(count);
        if count > 1 {
            measured.done.push((began.elapsed(), count));
        }
    }
    measured.overloads = client.take_overloads();
    Ok((client, measured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Record;

    /// Takes a time for each append.
    struct Slow(Duration);

    impl Client for Slow {
        async fn append(&mut self, _: Record<'_>) -> Result<(), Failure> {
            tokio::time::sleep(self.0).await;
            Ok(())
        }
        async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
            if batch.is_empty() { Err("empty".into()) } else { Ok(()) }
        }
        async fn read_stream(&mut self, _: &str) -> Result<u64, Failure> {
            Ok(0)
        }
        async fn scan(&mut self, _: u64) -> Result<u64, Failure> {
            Ok(0)
        }
    }

    fn load(batch: u32) -> Load {
        Load { seed: 1, batch, command_ids: false, first_stream: 0 }
    }

    #[tokio::test]
    async fn a_slow_answer_is_seen_by_all_that_wait_behind_it_in_an_open_loop() {
        // 40 requests should begin within 20 ms; each takes 5 ms and there is one client: the last ones wait most of 200 ms
        let lasting = Duration::from_millis(20);
        let slow = || vec![Slow(Duration::from_millis(5))];
        let open = Pace::open(2_000.0, lasting, 1, Duration::from_secs(60));
        let (_, measured) = appends(slow(), &Heads::new(4), load(1), &open).await.unwrap();
        assert_eq!((measured.events, open.finish()), (40, 0));
        assert!(measured.latency.ms(0.95) > 100.0, "{measured:?}");
    }

    #[tokio::test]
    async fn batches_count_their_events() {
        let heads = Heads::new(100);
        let clients = vec![Slow(Duration::ZERO), Slow(Duration::ZERO)];
        let (back, measured) = appends(clients, &heads, load(10), &Pace::requests(7)).await.unwrap();
        assert_eq!((back.len(), measured.events, measured.latency.count()), (2, 70, 7));
        assert_eq!(heads.events(), 70);
    }

    #[test]
    fn a_rate_that_drops_is_seen_in_the_last_tenth() {
        // 50 batches in 1 s, then 50 in 2 s, told in no order
        let moment = |i: u64| if i <= 50 { i * 20 } else { 1_000 + (i - 50) * 40 };
        let done = (1..=100).rev().map(|i| (Duration::from_millis(moment(i)), 1_000)).collect();
        let measured = Measured { done, ..Measured::default() };
        let Tenths { first, last, slowest } = measured.tenths().unwrap();
        assert!((first - 50_000.0).abs() < 1.0 && (last - 25_000.0).abs() < 1.0, "{first} {last}");
        assert!((slowest - 25_000.0).abs() < 1.0, "{slowest}");
        assert_eq!(Measured::default().tenths(), None);
    }

    #[test]
    fn a_pause_in_the_middle_of_a_run_is_seen_in_the_slowest_tenth_alone() {
        // 105 batches, one every 10 ms, but for 500 ms before the one in the middle: ten tenths of 10 or 11
        let moment = |i: u64| i * 10 + if i > 52 { 490 } else { 0 };
        let of = |count: u64| {
            let done = (1..=count).map(|i| (Duration::from_millis(moment(i)), 1_000)).collect();
            Measured { done, ..Measured::default() }.tenths()
        };
        let Tenths { first, last, slowest } = of(105).unwrap();
        assert!((first - 100_000.0).abs() < 1.0 && (last - 100_000.0).abs() < 1.0, "{first} {last}");
        assert!((16_000.0..19_000.0).contains(&slowest), "10 in 590 ms or 11 in 600 ms: {slowest}");
        assert!(of(10).is_some() && of(9).is_none(), "a tenth is a batch at least");
    }
}
