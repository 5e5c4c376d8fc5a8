//! What a node says that stops before its disk has taken everything.

use std::sync::Arc;
use std::time::Duration;

/// Logs whose disk did not take what was in flight when the node stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", text(.logs, .waited, .lost.as_deref()))]
pub struct Undrained {
    /// `store/stream type` of each.
    pub logs: Vec<String>,
    /// How long the node has waited.
    pub waited: Duration,
    /// Why nothing takes it any more, of a member that takes no part in its cluster any more.
    pub lost: Option<Arc<str>>,
}

fn text(logs: &[String], waited: &Duration, lost: Option<&str>) -> String {
    let (seconds, logs) = (waited.as_secs(), logs.join(", "));
    match lost {
        None => format!(
            "the disk did not take what was in flight in {seconds} seconds; not acknowledged, and perhaps not stored, is the last group of {logs}: \
             make room, or see why the disk gives no answer, and start the node again, then repeat what was not answered"
        ),
        Some(why) => format!(
            "this node takes no part in its cluster any more: {why}; not acknowledged, and perhaps not stored, is the last group of {logs}: let a new \
             node take its place (`replace`), and repeat at another node what was not answered"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_ended_tells_its_own_reason_and_nothing_of_a_disk() {
        let undrained = |lost| Undrained { logs: vec!["s/A".to_owned()], waited: Duration::from_secs(5), lost };
        let (full, ended) = (undrained(None).to_string(), undrained(Some(Arc::from("an older copy"))).to_string());
        assert!(full.contains("the disk did not take") && full.contains("5 seconds") && full.contains("s/A"), "{full}");
        assert!(ended.contains("any more: an older copy") && ended.contains("s/A"), "{ended}");
        assert!(!ended.contains("disk"), "{ended}");
    }
}
