//! Rounds: floors, then every engine in turn with a new server and an empty folder. One that fails is told, not hidden, and left out of the
//! rounds that follow.

use crate::engines::nats::Nats;
use crate::engines::postgres::Postgres;
use crate::engines::redis::Redis;
use crate::engines::strandline::{OverHttp, OverNative, Strandline};
use crate::engines::{About, Places, nats, postgres, redis};
use crate::machine::Machine;
use crate::names;
use crate::options::Options;
use crate::report::Results;
use crate::sheet::Sheet;
use crate::trial::{Plan, Runtimes, Trial, peer};
use crate::{floors, ours};
use std::path::Path;
use std::time::{Duration, Instant};
use strandline_load::client::Failure;

/// Who takes part, in the order of the first round; in each that follows the first one becomes the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contender {
    Redis,
    Postgres,
    Nats,
    UmaDb,
    UmaDbChecked,
    Native,
    NativeIds,
    Http,
}

impl Contender {
    const ALL: [Self; 8] = [
        Self::Redis,
        Self::Postgres,
        Self::Nats,
        Self::UmaDb,
        Self::UmaDbChecked,
        Self::Native,
        Self::NativeIds,
        Self::Http,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Redis => names::REDIS,
            Self::Postgres => names::POSTGRES,
            Self::Nats => names::NATS,
            Self::UmaDb => names::UMADB,
            Self::UmaDbChecked => names::UMADB_CHECKED,
            Self::Native => names::NATIVE,
            Self::NativeIds => names::NATIVE_IDS,
            Self::Http => names::HTTP,
        }
    }

    /// Why it cannot take part.
    fn absent(self, places: &Places) -> Option<String> {
        let there = match self {
            Self::Redis => redis::program(places).is_some(),
            Self::Postgres => postgres::is_there(places),
            Self::Nats => nats::program(places).is_some(),
            Self::UmaDb | Self::UmaDbChecked => umadb::is_there(places),
            Self::Native | Self::NativeIds | Self::Http => true,
        };
        (!there).then(|| format!("{} is absent: its server or client could not be installed", self.name()))
    }

    fn about(self, places: &Places, program: &Path) -> Result<About, Failure> {
        match self {
            Self::Redis => Redis::about(places),
            Self::Postgres => Postgres::about(places),
            Self::Nats => Nats::about(places),
            Self::UmaDb | Self::UmaDbChecked => umadb::about(places, self == Self::UmaDbChecked),
            Self::Native => Strandline::about(program, "crates/client, the native protocol", false),
            Self::NativeIds => Strandline::about(program, "crates/client, the native protocol", true),
            Self::Http => Strandline::about(program, "HTTP/1.1, connections kept (benches/load)", false),
        }
    }

    fn run(self, trial: &mut Trial<'_>, places: &Places, program: &Path) -> Result<(), Failure> {
        let runtime = &trial.runtimes.one;
        match self {
            Self::Redis => peer(trial, &Redis::start(places, trial.plan.all_streams())?),
            Self::Postgres => {
                let server = runtime.block_on(Postgres::start(places))?;
                peer(trial, &server)
            }
            Self::Nats => {
                let server = runtime.block_on(Nats::start(places))?;
                peer(trial, &server)
            }
            Self::UmaDb => umadb::run(trial, places, false),
            Self::UmaDbChecked => umadb::run(trial, places, true),
            Self::Native => {
                let mut node = Strandline::start(program, places, false)?;
                ours::trial::<OverNative>(trial, &mut node, false)?;
                ours::batches_while_compacting::<OverNative>(trial, &node)
            }
            Self::NativeIds => ours::with_command_ids::<OverNative>(trial, &Strandline::start(program, places, true)?),
            Self::Http => ours::trial::<OverHttp>(trial, &mut Strandline::start(program, places, false)?, true),
        }
    }
}

/// UmaDB where it was built in.
#[cfg(feature = "umadb")]
mod umadb {
    use crate::engines::umadb::{UmaDb, program};
    use crate::engines::{About, Places};
    use crate::trial::{Trial, peer};
    use strandline_load::client::Failure;

    pub(super) fn is_there(places: &Places) -> bool {
        program(places).is_some()
    }

    pub(super) fn about(places: &Places, checked: bool) -> Result<About, Failure> {
        UmaDb::about(places, checked)
    }

    pub(super) fn run(trial: &mut Trial<'_>, places: &Places, checked: bool) -> Result<(), Failure> {
        let server = UmaDb::start(places, checked)?;
        if !checked {
            return peer(trial, &server);
        }
        // only singles have a stream that can be checked
        trial.one_client(&server)?;
        trial.many_clients(&server)
    }
}

/// Where it was not.
#[cfg(not(feature = "umadb"))]
mod umadb {
    use crate::engines::{About, Places};
    use crate::trial::Trial;
    use strandline_load::client::Failure;

    const WHY: &str = "this was built without the feature umadb";

    pub(super) const fn is_there(_: &Places) -> bool {
        false
    }

    pub(super) fn about(_: &Places, _: bool) -> Result<About, Failure> {
        Err(WHY.into())
    }

    pub(super) fn run(_: &mut Trial<'_>, _: &Places, _: bool) -> Result<(), Failure> {
        Err(WHY.into())
    }
}

/// All rounds.
pub(crate) fn run(options: &Options) -> Result<Results, Failure> {
    let places = Places {
        programs: options.programs.clone(),
        data: options.dir.clone(),
        postgres: options.postgres_setting.clone(),
    };
    let (mut sheet, mut notes, mut engines) = (Sheet::default(), Vec::new(), Vec::new());
    let mut contenders = Vec::new();
    for contender in Contender::ALL.into_iter().filter(|contender| options.takes(contender.name())) {
        match contender.absent(&places) {
            Some(why) => notes.push(why),
            None => {
                engines.push((contender.name(), contender.about(&places, &options.strandline)?));
                contenders.push(contender);
            }
        }
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}: floors", options.rounds);
        floors::measure(&options.dir, &mut sheet)?;
        contenders.retain(|contender| {
            let began = Instant::now();
            let outcome = one(*contender, options, &places, &mut sheet);
            eprintln!("round {round}: {} took {:.0} s", contender.name(), began.elapsed().as_secs_f64());
            let Err(failure) = outcome else { return true };
            eprintln!("round {round}: {} failed: {failure}", contender.name());
            notes.push(format!(
                "{} failed in round {round} and was left out from there on: {failure}",
                contender.name()
            ));
            false
        });
        // nobody has the same place in every round: what a run before leaves to the machine falls to each in turn
        let first = contenders.len().min(1);
        contenders.rotate_left(first);
    }
    Ok(Results {
        date: options.date.clone(),
        revision: options.revision.clone(),
        machine: Machine::here(&options.dir)?,
        sheet,
        engines,
        notes,
        plan: described(options),
        events: options.events,
    })
}

fn one(contender: Contender, options: &Options, places: &Places, sheet: &mut Sheet) -> Result<(), Failure> {
    let plan = Plan {
        lasting: Duration::try_from_secs_f64(options.seconds)?,
        warmup: Duration::try_from_secs_f64(options.seconds / 10.0)?,
        // what command ids cost is a ratio to the same load without: their tables grow with the events
        events: if matches!(contender, Contender::Native | Contender::NativeIds) {
            options.events
        } else {
            options.peer_events
        },
        streams: options.streams,
    };
    // new ones each time: nothing of another client goes on in them
    let runtimes = Runtimes::new()?;
    let outcome = contender.run(&mut Trial::new(&runtimes, plan, sheet, contender.name()), places, &options.strandline);
    // what it left for the disk to write is not the next one's
    rustix::fs::sync();
    outcome
}

fn described(options: &Options) -> String {
    format!(
        "{} rounds, every engine in turn in each, another one first; {} s a workload after {} s of warm-up; batches: {} events by \
         Strandline's native protocol, {} by everybody else; {} streams, records of 263 bytes.",
        options.rounds,
        options.seconds,
        options.seconds / 10.0,
        options.events,
        options.peer_events,
        options.streams,
    )
}
