//! Who belongs to a log's replication group. The log only keeps it; it draws no conclusion from it.

use crate::wire::{Take, put_text};

/// Voter sets and nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// One set of voters; two while the membership changes.
    pub voters: Vec<Vec<u64>>,
    /// Every node, learners included, with its address (empty where there is none).
    pub nodes: Vec<(u64, String)>,
}

impl Membership {
    /// A group of one member.
    #[must_use]
    pub fn one(node: u64) -> Self {
        Self { voters: vec![vec![node]], nodes: vec![(node, String::new())] }
    }

    /// The payload bytes (FORMAT.md section 6).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_count(&mut out, self.voters.len());
        for set in &self.voters {
            put_count(&mut out, set.len());
            for node in set {
                out.extend_from_slice(&node.to_le_bytes());
            }
        }
        put_count(&mut out, self.nodes.len());
        for (node, address) in &self.nodes {
            out.extend_from_slice(&node.to_le_bytes());
            put_text(&mut out, address);
        }
        out
    }

    /// Reads the payload; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let mut out = Self::default();
        for _ in 0..take.u16()? {
            let count = take.u16()?;
            out.voters.push((0..count).map(|_| take.u64()).collect::<Option<_>>()?);
        }
        for _ in 0..take.u16()? {
            out.nodes.push((take.u64()?, take.text()?));
        }
        take.0.is_empty().then_some(out)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // a group of more than 65,535 nodes does not exist; the count saturates instead of wrapping
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_is_cut() {
        let all = [
            Membership::one(7),
            Membership { voters: vec![vec![1, 2], vec![2, 3]], nodes: vec![(1, "a:1".into()), (9, String::new())] },
        ];
        for membership in all {
            let bytes = membership.encode();
            assert_eq!(Membership::decode(&bytes), Some(membership));
            for cut in 0..bytes.len() {
                assert_eq!(Membership::decode(&bytes[..cut]), None);
            }
        }
    }
}
