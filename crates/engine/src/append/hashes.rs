//! Hashes of a batch, that its owner judges by. All bytes of its events go through them, so whoever sends a body makes them in its own
//! thread, and the owner, who is one for all, takes them as they are.

use crate::Few;
use crate::append::rules::Rules;
use crate::commands::{Scope, command_digest, command_key, commands_of, put_command_key};
use std::ops::Range;
use strandline_event::hash::{Parts, keyed_hash_of, keyed_hashes, stream_hash};
use strandline_event::{BatchUnit, BatchView, Field};

/// What one batch hashes to.
#[derive(Debug)]
pub struct Hashes {
    scope: Scope,
    digest_key: (u64, u64),
    unit: BatchUnit,
    /// By distinct stream.
    streams: Few<u128>,
    /// By row, of an append the one command; none where ids are not checked.
    commands: Vec<HashedCommand>,
    /// Two rows may name one command. Whoever made the hashes has found out that mostly none do, so that the owner need not.
    may_repeat: bool,
}

/// The key of a command and the digest of its events; zeros for a row that names none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HashedCommand {
    pub(crate) key: u128,
    pub(crate) digest: u128,
}

impl Hashes {
    /// Of a batch that will be judged by these rules.
    #[must_use]
    pub fn of(batch: BatchView<'_>, rules: &Rules) -> Self {
        let Rules { scope, digest_key, .. } = *rules;
        let streams: Few<u128> = (0..batch.stream_count()).map(|stream| stream_hash(batch.stream(stream))).collect();
        let commands = match (scope, batch.unit()) {
            (Scope::None, _) => Vec::new(),
            (_, BatchUnit::Rows) => commands_of_rows(batch, (scope, digest_key), &streams),
            (_, BatchUnit::Append) => {
                let hashed = |(id, rows): (&str, Range<usize>)| {
                    let stream = streams.get(batch.stream_of(rows.start)).copied().unwrap_or_default();
                    let key = command_key(scope, digest_key, batch.stream_type(), stream, id);
                    HashedCommand { key, digest: command_digest(batch, rows, digest_key) }
                };
                commands_of(batch).map(hashed).collect()
            }
        };
        let may_repeat = may_repeat(&commands);
        Self { scope, digest_key, unit: batch.unit(), streams, commands, may_repeat }
    }

    /// Whether they are what [`of`](Self::of) gives by these rules, which may have come meanwhile, for a batch of this shape.
    pub(crate) fn are_of(&self, batch: BatchView<'_>, rules: &Rules) -> bool {
        (self.scope, self.digest_key) == (rules.scope, rules.digest_key)
            && (self.unit, self.streams.len()) == (batch.unit(), batch.stream_count())
    }

    /// By distinct stream.
    pub(crate) fn streams(&self) -> &[u128] {
        &self.streams
    }

    /// The command of a row that names one.
    pub(crate) fn command(&self, row: usize) -> Option<HashedCommand> {
        let command = self.commands.get(if self.unit == BatchUnit::Append { 0 } else { row })?;
        (command.key != 0).then_some(*command)
    }

    /// `false`: no two rows of the body name the same command.
    pub(crate) const fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Keys of all commands.
    pub(crate) fn command_keys(&self) -> impl Iterator<Item = u128> + Clone + '_ {
        self.commands.iter().map(|command| command.key)
    }
}

/// Those of a body, each of which is a row, as [`command_key`] and [`command_digest`] give them one by one.
fn commands_of_rows(
    batch: BatchView<'_>,
    (scope, (key0, key1)): (Scope, (u64, u64)),
    streams: &[u128],
) -> Vec<HashedCommand> {
    // as `commands_of` does, without a look at any byte
    let named = || (0..batch.rows()).filter_map(move |row| Some((batch.bytes(row, Field::CommandId)?, row)));
    // most often each row of a body names a command, or none does
    if named().next().is_none() {
        return Vec::new();
    }
    let mut commands = vec![HashedCommand::default(); batch.rows()];
    let put_key = |(id, row): (&[u8], usize), parts: &mut Parts| {
        let stream = streams.get(batch.stream_of(row)).copied().unwrap_or_default();
        put_command_key(scope, batch.stream_type(), stream, id, parts);
    };
    keyed_hashes(key0, key1, named(), put_key, |(_, row), key| {
        if let Some(command) = commands.get_mut(row) {
            command.key = key;
        }
    });
    let put_row = |(_, row): (&[u8], usize), parts: &mut Parts| batch.put_digested(row, parts);
    keyed_hashes(key0, key1, named(), put_row, |(_, row), digest| {
        if let Some(command) = commands.get_mut(row) {
            command.digest = keyed_hash_of(key0, key1, [digest].into_iter());
        }
    });
    commands
}

/// Whether half of a key stands twice among them. `true` may be wrong, `false` is not.
fn may_repeat(commands: &[HashedCommand]) -> bool {
    if commands.len() < 2 {
        return false;
    }
    // keyed hashes find places by themselves, and half of these stay free
    let mask = (commands.len() * 2).next_power_of_two() - 1;
    let mut seen = vec![0_u64; mask + 1];
    commands.iter().filter(|command| command.key != 0).any(|command| {
        // zeros say that a place is free
        let half = command.key as u64 | 1;
        let mut at = (half >> 1) as usize & mask;
        loop {
            match seen.get_mut(at) {
                Some(other) if *other == half => return true,
                Some(free) if *free == 0 => {
                    *free = half;
                    return false;
                }
                _ => at = (at + 1) & mask,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchBuilder, BatchBytes, EventInput};

    fn batch(unit: BatchUnit, ids: &[Option<&str>]) -> BatchBytes {
        let mut builder = BatchBuilder::new("Order", unit);
        for (row, id) in ids.iter().enumerate() {
            let stream_id = if unit == BatchUnit::Append { "s".to_owned() } else { format!("s{}", row % 2) };
            let data = format!("{{\"n\":{row}}}");
            let event = EventInput {
                stream_id: &stream_id,
                event_type: "Placed",
                data: &data,
                command_id: *id,
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
        }
        builder.finish().unwrap()
    }

    fn rules(scope: Scope) -> Rules {
        Rules { scope, ..(*crate::append::tests::rules()).clone() }
    }

    #[test]
    fn each_row_of_a_body_has_its_command() {
        let (batch, rules) = (batch(BatchUnit::Rows, &[None, Some("a"), None, Some("b")]), rules(Scope::Stream));
        let hashes = Hashes::of(batch.view(), &rules);
        assert_eq!(hashes.streams(), [stream_hash("s0"), stream_hash("s1")]);
        for (row, id) in [(1, "a"), (3, "b")] {
            let found = hashes.command(row).unwrap();
            let key = command_key(Scope::Stream, rules.digest_key, "Order", stream_hash("s1"), id);
            assert_eq!((found.key, found.digest), (key, command_digest(batch.view(), row..row + 1, rules.digest_key)));
        }
    }

    #[test]
    fn each_of_many_rows_has_the_key_and_the_digest_that_it_has_by_itself() {
        let ids: Vec<String> = (0..99).map(|n| "c".repeat(1 + n * 7 % 200)).collect();
        for count in [1, 2, 98, 99] {
            let ids: Vec<Option<&str>> = ids.iter().take(count).map(|id| Some(id.as_str())).collect();
            let batch = batch(BatchUnit::Rows, &ids);
            for scope in [Scope::Stream, Scope::StreamType, Scope::Store] {
                let rules = rules(scope);
                let hashes = Hashes::of(batch.view(), &rules);
                for (row, id) in ids.iter().enumerate() {
                    let found = hashes.command(row).unwrap();
                    let stream = stream_hash(&format!("s{}", row % 2));
                    let key = command_key(scope, rules.digest_key, "Order", stream, id.unwrap());
                    let digest = command_digest(batch.view(), row..row + 1, rules.digest_key);
                    assert_eq!((found.key, found.digest), (key, digest), "{row} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_row_without_a_command_has_none_and_a_body_tells_whether_one_stands_there_twice() {
        let hashes = |ids: &[Option<&str>]| Hashes::of(batch(BatchUnit::Rows, ids).view(), &rules(Scope::StreamType));
        let some = hashes(&[None, Some("a"), None, Some("b")]);
        assert_eq!([0, 1, 2, 3].map(|row| some.command(row).is_some()), [false, true, false, true]);
        assert!(!some.may_repeat() && !hashes(&[None]).may_repeat() && !hashes(&[Some("a")]).may_repeat());
        assert!(hashes(&[Some("a"), None, Some("b"), Some("a")]).may_repeat());
        // of another stream it is another command
        let of_streams = |ids: &[Option<&str>]| Hashes::of(batch(BatchUnit::Rows, ids).view(), &rules(Scope::Stream));
        assert!(!of_streams(&[Some("a"), Some("a")]).may_repeat());
        assert!(of_streams(&[Some("a"), None, Some("a")]).may_repeat());
    }

    #[test]
    fn a_key_of_which_half_is_zeros_is_one() {
        let command = |key: u128| HashedCommand { key, digest: 1 };
        assert!(may_repeat(&[command(7 << 64), command(7 << 64)]));
        assert!(!may_repeat(&[HashedCommand::default(), command(7 << 64), HashedCommand::default()]));
        // all of them begin at the last place
        let last: Vec<HashedCommand> = (0..100).map(|n| command(n << 32 | u128::from(u32::MAX))).collect();
        assert!(!may_repeat(&last) && may_repeat(&[&last[..], &last[99..]].concat()));
    }

    #[test]
    fn an_append_is_one_command() {
        let (batch, rules) = (batch(BatchUnit::Append, &[Some("a"), Some("a")]), rules(Scope::StreamType));
        let hashes = Hashes::of(batch.view(), &rules);
        let digest = command_digest(batch.view(), 0..2, rules.digest_key);
        assert_eq!(hashes.command(0).unwrap().digest, digest);
        assert_eq!(hashes.command_keys().count(), 1);
    }

    #[test]
    fn where_ids_are_not_checked_there_is_no_command() {
        let (batch, rules) = (batch(BatchUnit::Rows, &[Some("a")]), rules(Scope::None));
        assert!(Hashes::of(batch.view(), &rules).command(0).is_none());
    }

    #[test]
    fn those_of_something_else_are_told() {
        let rows = batch(BatchUnit::Rows, &[Some("a"), Some("b")]);
        let hashes = Hashes::of(rows.view(), &rules(Scope::Stream));
        assert!(hashes.are_of(rows.view(), &rules(Scope::Stream)));
        assert!(!hashes.are_of(rows.view(), &rules(Scope::StreamType)));
        let other_key = Rules { digest_key: (7, 7), ..rules(Scope::Stream) };
        assert!(!hashes.are_of(rows.view(), &other_key));
        for other in [batch(BatchUnit::Rows, &[Some("a")]), batch(BatchUnit::Append, &[Some("a")])] {
            assert!(!hashes.are_of(other.view(), &rules(Scope::Stream)));
        }
    }
}
