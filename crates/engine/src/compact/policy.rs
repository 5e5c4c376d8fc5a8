//! When a log is due for compaction. Pure: numbers in, yes or no out.

use strandline_deql::{Compaction, CompactionTrigger};

/// Why somebody asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// The schedule's tick.
    Tick,
    /// The log has grown.
    Size,
    /// A person asked for a run.
    Hand,
    /// An event was redacted: what holds its text is rewritten, and nothing else.
    Redaction,
}

/// What the log holds that is not durable yet, the open segment included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NotDurable {
    /// Bytes in the log.
    pub bytes: u64,
    /// Whether there is any event among them.
    pub any_event: bool,
}

/// Whether the log is to be sealed and compacted now.
#[must_use]
pub fn is_due(config: &Compaction, waiting: NotDurable, trigger: Trigger) -> bool {
    if !waiting.any_event {
        return false;
    }
    let size = config.trigger.contains(&CompactionTrigger::SizeMb) && waiting.bytes >= config.min_segment_mb << 20;
    match trigger {
        Trigger::Hand => config.enabled,
        Trigger::Tick => config.enabled && (size || config.trigger.contains(&CompactionTrigger::Time)),
        Trigger::Size => config.enabled && size,
        Trigger::Redaction => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use strandline_deql::StoreConfig;

    fn config(trigger: &[CompactionTrigger]) -> Compaction {
        let mut c = StoreConfig::local_dev(Path::new("/d")).compaction;
        c.trigger = trigger.to_vec();
        c.min_segment_mb = 64;
        c
    }

    const SMALL: NotDurable = NotDurable { bytes: 4096, any_event: true };
    const LARGE: NotDurable = NotDurable { bytes: 64 << 20, any_event: true };

    #[test]
    fn each_trigger_has_its_own_rule() {
        let both = config(&[CompactionTrigger::SizeMb, CompactionTrigger::Time]);
        assert!(is_due(&both, SMALL, Trigger::Tick) && !is_due(&both, SMALL, Trigger::Size));
        assert!(is_due(&both, LARGE, Trigger::Size) && is_due(&both, SMALL, Trigger::Hand));
        let time = config(&[CompactionTrigger::Time]);
        assert!(!is_due(&time, LARGE, Trigger::Size) && is_due(&time, SMALL, Trigger::Tick));
        let size = config(&[CompactionTrigger::SizeMb]);
        assert!(!is_due(&size, SMALL, Trigger::Tick) && is_due(&size, LARGE, Trigger::Tick));
    }

    #[test]
    fn an_empty_log_is_never_due_and_nothing_moves_while_disabled() {
        let mut c = config(&[CompactionTrigger::SizeMb, CompactionTrigger::Time]);
        let empty = NotDurable { bytes: 1 << 40, any_event: false };
        for trigger in [Trigger::Tick, Trigger::Size, Trigger::Hand] {
            assert!(!is_due(&c, empty, trigger));
        }
        c.enabled = false;
        for trigger in [Trigger::Tick, Trigger::Size, Trigger::Hand] {
            assert!(!is_due(&c, LARGE, trigger));
        }
    }
}
