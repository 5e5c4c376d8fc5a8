//! Call records of some days, as they come in: deterministic, each event known by its day, its round and its stream.
//!
//! A stream lives for three days and has 100 events: 34, 33 and 33. Streams of a day are written in rounds, so that the events of
//! one stream are spread over the whole day, as those of a network are. One event in a hundred happened eight hours before
//! it came, which may be the day before.

use strandline_event::{EventId, EventRef, IdPrefix, Micros, Seq};

/// 2026-01-05T00:00:00Z
const START_US: i64 = 1_767_571_200_000_000;
const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// Days on which streams begin.
const COHORTS: u64 = 5;
/// Events of a stream.
pub const STREAM_EVENTS: u64 = 100;
/// Events of a stream on each of its days.
const ROUNDS: [u64; 3] = [34, 33, 33];
/// Days on which events come.
pub const DAYS: u64 = COHORTS + 2;

/// How large the history is.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    streams: u64,
}

/// One event that owns its texts.
#[derive(Clone, Debug)]
pub struct Call {
    event_id: EventId,
    stream_id: String,
    seq: u64,
    event_type: &'static str,
    occurred_at: i64,
    ingested_at: i64,
    data: String,
    command_id: String,
    tenant_id: &'static str,
}

impl Call {
    /// The event as the store takes it.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        EventRef {
            event_id: self.event_id,
            stream_type: "Call",
            stream_id: &self.stream_id,
            seq: Seq(self.seq),
            event_type: self.event_type,
            event_version: Some(1),
            occurred_at: Micros(self.occurred_at),
            ingested_at: Micros(self.ingested_at),
            data: &self.data,
            metadata: Some("{\"source\":\"msc\"}"),
            command_id: Some(&self.command_id),
            correlation_id: None,
            causation_id: None,
            tenant_id: Some(self.tenant_id),
        }
    }
}

const fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Calls {
    /// A history of about so many events (a multiple of 500).
    #[must_use]
    pub const fn of(events: u64) -> Self {
        Self { streams: events / STREAM_EVENTS / COHORTS }
    }

    /// Its events.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.streams * COHORTS * STREAM_EVENTS
    }

    /// The id of a stream of the cohort that begins on a day.
    #[must_use]
    pub fn stream_id(&self, day: u64, n: u64) -> String {
        format!("call-{:016x}", mixed(day * self.streams + n + 1))
    }

    /// A stream that lives on the busiest days.
    #[must_use]
    pub fn middle_stream(&self) -> String {
        self.stream_id(COHORTS / 2, self.streams / 2)
    }

    /// The events of a day as they come.
    pub fn day(&self, day: u64) -> impl Iterator<Item = Call> + use<> {
        let this = *self;
        let alive = move |age: u64| day.checked_sub(age).filter(|first| *first < COHORTS);
        let count: u64 = (0..3).filter(|age| alive(*age).is_some()).map(|age| ROUNDS[age as usize]).sum();
        let count = count * this.streams;
        let rows = (0..ROUNDS[0]).flat_map(move |round| {
            let ages = (0..3).filter(move |age| round < ROUNDS[*age as usize]);
            ages.filter_map(move |age| alive(age).map(|first| (age, first)))
                .flat_map(move |(age, first)| (0..this.streams).map(move |n| (age, first, n, round)))
        });
        rows.enumerate().map(move |(at, (age, first, n, round))| {
            let ingested_at = START_US + day as i64 * DAY_US + (at as u64 * DAY_US as u64 / count.max(1)) as i64;
            let before: u64 = ROUNDS[..age as usize].iter().sum();
            this.call((first, n), before + round + 1, ingested_at)
        })
    }

    fn call(&self, (first, n): (u64, u64), seq: u64, ingested_at: i64) -> Call {
        let stream_id = self.stream_id(first, n);
        let bits = mixed(mixed(first * self.streams + n) ^ seq);
        let late = if bits.is_multiple_of(100) { 8 * HOUR_US } else { 0 };
        let cell = mixed(n) % 5000;
        let data = format!(
            "{{\"caller\":\"+4930{:07}\",\"callee\":\"+4989{:07}\",\"cell\":\"B-{cell:05}\",\"duration_ms\":{},\"rssi\":-{},\
             \"bytes\":{},\"tariff\":\"{}\",\"codec\":\"amr-wb\",\"roaming\":{}}}",
            mixed(n) % 10_000_000,
            (bits >> 20) % 10_000_000,
            (bits >> 8) % 3_600_000,
            40 + (bits >> 4) % 70,
            (bits >> 30) % 1_000_000,
            ["flat-s", "flat-m", "flat-xl", "prepaid"][(mixed(n) % 4) as usize],
            bits.is_multiple_of(20),
        );
        let types = ["Started", "Moved", "Measured", "Measured", "HandedOver", "Billed"];
        Call {
            // no more bits than the records have had that earlier figures are of
            event_id: IdPrefix::v7(Micros(ingested_at), bits & ((1 << 42) - 1)).id((bits >> 44) as u32),
            stream_id,
            seq,
            event_type: types[(bits >> 50) as usize % types.len()],
            occurred_at: ingested_at - (bits >> 12) as i64 % 120_000_000 - late,
            ingested_at,
            data,
            command_id: format!("cmd-{bits:016x}"),
            tenant_id: ["north", "south", "east"][(mixed(n) % 3) as usize],
        }
    }
}
