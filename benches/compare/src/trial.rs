//! The six workloads, for any engine.
//!
//! Each is one function, so that what an engine is put through is read off its trial ([`peer`], `ours.rs`). A client of a workload
//! has a connection of its own that is made before the clock runs.

use crate::engines::Engine;
use crate::sheet::{Figure, Sheet};
use std::time::{Duration, Instant};
use strandline_load::client::{Client, Failure};
use strandline_load::heads::Heads;
use strandline_load::latency::Latency;
use strandline_load::pace::Pace;
use strandline_load::records::{Batch, Calls, stream_id};
use strandline_load::run::{Load, Measured, Tenths, appends};
use tokio::runtime::{Builder, Runtime};

/// Clients of the workload of single appends at the same time.
pub(crate) const MANY: u32 = 64;
/// Clients of the workload of batches, and events of a batch.
pub(crate) const BATCH_CLIENTS: u32 = 8;
pub(crate) const BATCH: u32 = 1_000;
/// Streams that are read, and events of each.
pub(crate) const READ_STREAMS: u32 = 200;
pub(crate) const READ_EVENTS: u32 = 100;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of each workload that has no end of its own.
    pub(crate) lasting: Duration,
    /// The same load before it, not measured.
    pub(crate) warmup: Duration,
    /// Of the workload of batches.
    pub(crate) events: u64,
    /// Streams that are written.
    pub(crate) streams: u32,
}

impl Plan {
    /// Streams with events at the end, those that are read included.
    pub(crate) const fn all_streams(&self) -> u32 {
        self.streams + READ_STREAMS
    }
}

/// Client runtimes: one thread where latency counts, two where clients have work of their own to do.
#[derive(Debug)]
pub(crate) struct Runtimes {
    pub(crate) one: Runtime,
    pub(crate) two: Runtime,
}

impl Runtimes {
    pub(crate) fn new() -> Result<Self, Failure> {
        let one = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { one, two: Builder::new_multi_thread().worker_threads(2).enable_all().build()? })
    }
}

/// An engine of one round: its plan, what its streams hold, and where its figures go.
pub(crate) struct Trial<'a> {
    pub(crate) runtimes: &'a Runtimes,
    pub(crate) plan: Plan,
    pub(crate) sheet: &'a mut Sheet,
    pub(crate) name: &'static str,
    pub(crate) command_ids: bool,
    heads: Heads,
    read: Heads,
    loads: u64,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(runtimes: &'a Runtimes, plan: Plan, sheet: &'a mut Sheet, name: &'static str) -> Self {
        let (heads, read) = (Heads::new(plan.streams), Heads::new(READ_STREAMS));
        Self { runtimes, plan, sheet, name, command_ids: false, heads, read, loads: 0 }
    }

    pub(crate) fn add(&mut self, figure: Figure, value: f64) {
        self.sheet.add(self.name, figure, value);
    }

    /// Events that were acknowledged.
    pub(crate) fn events(&self) -> u64 {
        self.heads.events() + self.read.events()
    }

    /// Streams that have events.
    pub(crate) fn streams_begun(&self) -> u64 {
        self.heads.begun() + self.read.begun()
    }

    /// A load with records and command ids of its own.
    fn load(&mut self, batch: u32) -> Load {
        self.loads += 1;
        Load { seed: self.loads * 1_000, batch, command_ids: self.command_ids, first_stream: 0 }
    }

    /// Single appends by some clients until a pace ends, after a warm-up.
    pub(crate) fn singles<E: Engine>(
        &mut self,
        engine: &E,
        clients: u32,
        pace: Option<&Pace>,
    ) -> Result<Measured, Failure> {
        let runtimes = self.runtimes;
        let connected = runtimes.one.block_on(connected(engine, clients))?;
        self.singles_of(connected, pace)
    }

    fn singles_of<C: Client + 'static>(&mut self, clients: Vec<C>, pace: Option<&Pace>) -> Result<Measured, Failure> {
        let (warmup, load, plan) = (self.load(1), self.load(1), self.plan);
        let heads = &self.heads;
        let measured = self.runtimes.one.block_on(async {
            let (clients, _) = appends(clients, heads, warmup, &Pace::closed(plan.warmup)).await?;
            let timed = Pace::closed(plan.lasting);
            appends(clients, heads, load, pace.unwrap_or(&timed)).await
        })?;
        Ok(measured.1)
    }

    /// Workload 1.
    pub(crate) fn one_client<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let measured = self.singles(engine, 1, None)?;
        self.add(Figure::OneP50, measured.latency.ms(0.5));
        self.add(Figure::OneP99, measured.latency.ms(0.99));
        Ok(())
    }

    /// Workload 2, with a connection each and, where the engine's client has it, on one connection.
    pub(crate) fn many_clients<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let measured = self.singles(engine, MANY, None)?;
        self.add(Figure::Many, measured.rate());
        self.add(Figure::ManyP99, measured.latency.ms(0.99));
        if let Some(shared) = self.runtimes.one.block_on(engine.connect_shared(MANY))? {
            let measured = self.singles_of(shared, None)?;
            self.add(Figure::Shared, measured.rate());
        }
        Ok(())
    }

    /// Batches of all clients until a pace ends.
    pub(crate) fn batches_of<E: Engine>(&mut self, engine: &E, pace: &Pace) -> Result<Measured, Failure> {
        let (load, runtimes) = (self.load(BATCH), self.runtimes);
        let heads = &self.heads;
        let (_, measured) = runtimes.two.block_on(async {
            let clients = connected(engine, BATCH_CLIENTS).await?;
            appends(clients, heads, load, pace).await
        })?;
        Ok(measured)
    }

    /// Workload 3.
    pub(crate) fn batches<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let measured = self.batches_of(engine, &Pace::requests(self.plan.events.div_ceil(u64::from(BATCH))))?;
        self.add(Figure::Batches, measured.rate());
        if let Some(Tenths { first, last, slowest }) = measured.tenths() {
            self.add(Figure::BatchesFirst, first);
            self.add(Figure::BatchesLast, last);
            self.add(Figure::BatchesSlowest, slowest);
        }
        if measured.overloads > 0 {
            self.add(Figure::Overloads, measured.overloads as f64);
        }
        Ok(())
    }

    /// Writes the streams that are read, not measured.
    pub(crate) fn streams_to_read<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let seed = self.load(BATCH).seed;
        let mut calls = Calls::new(seed, 0, 1, &self.read).from_stream(self.plan.streams);
        if self.command_ids {
            calls = calls.with_command_ids();
        }
        self.runtimes.two.block_on(async {
            let (mut client, mut batch) = (engine.connect().await?, Batch::default());
            for stream in 0..READ_STREAMS {
                (0..READ_EVENTS).for_each(|_| calls.add_to(stream, &mut batch));
                if batch.len() >= BATCH as usize || stream + 1 == READ_STREAMS {
                    client.append_batch(&batch).await?;
                    batch.clear();
                }
            }
            Ok(())
        })
    }

    /// Workload 4: the p50 of streams read at random, in milliseconds.
    pub(crate) fn streams_read<E: Engine>(&mut self, engine: &E) -> Result<f64, Failure> {
        let seed = self.load(1).seed;
        let (first, plan) = (self.plan.streams, self.plan);
        let mut random = Calls::new(seed, 0, 1, &Heads::new(1));
        self.runtimes.one.block_on(async {
            let mut client = engine.connect().await?;
            let (mut latency, warm, end) = (Latency::new(), Instant::now() + plan.warmup, plan.warmup + plan.lasting);
            let began = Instant::now();
            while began.elapsed() < end {
                let id = stream_id(first + random.below(u64::from(READ_STREAMS)) as u32);
                let asked = Instant::now();
                let found = client.read_stream(&id).await?;
                if found != u64::from(READ_EVENTS) {
                    return Err(format!("stream {id} has {found} events instead of {READ_EVENTS}").into());
                }
                if asked > warm {
                    latency.record(asked.elapsed());
                }
            }
            Ok(latency.ms(0.5))
        })
    }

    /// Workload 5. Every acknowledged event must be there.
    pub(crate) fn scan<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let expected = self.events();
        let took = self.runtimes.two.block_on(async {
            let mut client = engine.connect().await?;
            let began = Instant::now();
            match client.scan(expected).await? {
                found if found == expected => Ok(began.elapsed()),
                found => Err(Failure::from(format!("a scan gave {found} events of {expected}"))),
            }
        })?;
        self.add(Figure::Scan, expected as f64 / took.as_secs_f64());
        Ok(())
    }

    /// Workload 6.
    pub(crate) fn on_disk<E: Engine>(&mut self, engine: &E) -> Result<(), Failure> {
        let bytes = self.runtimes.one.block_on(engine.on_disk())?;
        let events = self.events() as f64;
        self.add(Figure::Bytes, bytes.events as f64 / events);
        self.add(Figure::Folder, bytes.folder as f64 / events);
        Ok(())
    }
}

async fn connected<E: Engine>(engine: &E, clients: u32) -> Result<Vec<E::Client>, Failure> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(engine.connect().await?);
    }
    Ok(connected)
}

/// What every peer is put through.
pub(crate) fn peer<E: Engine>(trial: &mut Trial<'_>, engine: &E) -> Result<(), Failure> {
    trial.one_client(engine)?;
    trial.many_clients(engine)?;
    trial.batches(engine)?;
    trial.streams_to_read(engine)?;
    let read = trial.streams_read(engine)?;
    trial.add(Figure::Stream, read);
    trial.scan(engine)?;
    trial.on_disk(engine)
}
