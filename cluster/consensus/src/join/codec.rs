//! What is asked and answered while a node joins, as bodies of Ask and Answer frames. `PROTOCOL.md`, section 6.

use crate::fields::{FieldError, Put, Take};
use crate::meta::{CodecError, NodeFacts, put_facts, take_facts};
use crate::transport::NodeId;

const VERSION: u8 = 1;

/// What is asked about the cluster. The numbers stand in Ask frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskKind {
    /// A [`Join`]; answered by an [`Offer`].
    Join,
    /// A [`Proof`]; answered by nothing: the node is admitted.
    Prove,
    /// A command of the meta group, for its leader; answered by its outcome.
    Propose,
    /// The state of the meta group, as its leader has it.
    State,
    /// Where a read of a group must be, for its leader.
    ReadIndex,
    /// A voter shall lead a group in the place of the leader that asks, or forget that one's lease; answered by nothing.
    TakeOver,
    /// For how long each node has not answered the one that is asked.
    Silent,
    /// Look now for what was committed to a store; answered by nothing, when it is known.
    Look,
    /// Do a part of what the node that asks has to compact; answered by how far it is.
    Help,
    /// Command ids of a store for a log; answered by who has them.
    Reserve,
    /// The leader of a log shall take no earlier reservation; answered by how far it is then.
    Settle,
    /// How far readers of a store may have come; answered by the newest moment that the one that is asked knows.
    Newest,
    /// The node that is asked lacks what it had acknowledged to the one that asks; answered by nothing, when it has ended for good.
    Lacks,
    /// Whether the node that is asked has nothing of a group, nor hears who should have made it; answered by yes or no.
    Unmade,
    /// As Newest, once everything that is committed in any log of the store has come to the one that is asked.
    NewestNow,
    /// How far the data folder of the node that asks counts; answered by the most that the one that is asked had heard of it before.
    Life,
    /// Whether the node that is asked has applied a command of the meta group; answered by how far it is, a moment later at the latest.
    Applied,
    /// How far a sync subscription is, for who keeps it; answered when that is not as it was seen before, a moment later at the latest.
    Progress,
}

impl AskKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Join,
        Self::Prove,
        Self::Propose,
        Self::State,
        Self::ReadIndex,
        Self::TakeOver,
        Self::Silent,
        Self::Look,
        Self::Help,
        Self::Reserve,
        Self::Settle,
        Self::Newest,
        Self::Lacks,
        Self::Unmade,
        Self::NewestNow,
        Self::Life,
        Self::Applied,
        Self::Progress,
    ];

    /// As it stands in the frame.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Join => 1,
            Self::Prove => 2,
            Self::Propose => 3,
            Self::State => 4,
            Self::ReadIndex => 5,
            Self::TakeOver => 6,
            Self::Silent => 7,
            Self::Look => 8,
            Self::Help => 9,
            Self::Reserve => 10,
            Self::Settle => 11,
            Self::Newest => 12,
            Self::Lacks => 13,
            Self::Unmade => 14,
            Self::NewestNow => 15,
            Self::Life => 16,
            Self::Applied => 17,
            Self::Progress => 18,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_u8() == number)
    }
}

/// A node asks to join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join(pub NodeFacts);

/// A store of the cluster, and a probe in its durable.path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferedStore {
    /// Its name.
    pub name: String,
    /// Its statement, without what belongs to each node.
    pub statement: String,
    /// Name of the probe.
    pub probe: u128,
}

/// What a node that joins has to prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The cluster.
    pub cluster: u128,
    /// Its stores.
    pub stores: Vec<OfferedStore>,
}

/// That a node sees a store's durable.path, and where it can be seen that it writes to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreProof {
    /// Name of the member's probe.
    pub probe: u128,
    /// What it holds.
    pub secret: u128,
    /// Name of the joining node's own probe.
    pub own_probe: u128,
    /// What that holds.
    pub own_secret: u128,
}

/// What a node that joins proves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Its id.
    pub node: NodeId,
    /// One for each store that was offered, in that order.
    pub stores: Vec<StoreProof>,
}

fn version(take: &mut Take<'_>) -> Result<(), CodecError> {
    match take.u8()? {
        VERSION => Ok(take.zeros(7)?),
        other => Err(CodecError::Version(other, "what is said while a node joins")),
    }
}

impl Join {
    /// As a body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::of(VERSION);
        put_facts(&mut out, &self.0);
        out.0
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut take = Take(bytes);
        version(&mut take)?;
        let facts = take_facts(&mut take)?;
        take.end()?;
        Ok(Self(facts))
    }
}

impl Offer {
    /// As a body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::of(VERSION);
        out.u128(self.cluster);
        out.count(self.stores.len());
        for store in &self.stores {
            out.u128(store.probe);
            out.text(&store.name);
            out.text(&store.statement);
        }
        out.0
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut take = Take(bytes);
        version(&mut take)?;
        let cluster = take.u128()?;
        let store = |take: &mut Take<'_>| {
            let probe = take.u128()?;
            Ok::<_, FieldError>(OfferedStore { probe, name: take.text()?.into(), statement: take.text()?.into() })
        };
        let stores = (0..take.count(24)?).map(|_| store(&mut take)).collect::<Result<_, _>>()?;
        take.end()?;
        Ok(Self { cluster, stores })
    }
}

impl Proof {
    /// As a body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put::of(VERSION);
        out.u64(self.node);
        out.count(self.stores.len());
        for proof in &self.stores {
            [proof.probe, proof.secret, proof.own_probe, proof.own_secret].into_iter().for_each(|part| out.u128(part));
        }
        out.0
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut take = Take(bytes);
        version(&mut take)?;
        let node = take.u64()?;
        let proof = |take: &mut Take<'_>| {
            let (probe, secret) = (take.u128()?, take.u128()?);
            Ok::<_, FieldError>(StoreProof { probe, secret, own_probe: take.u128()?, own_secret: take.u128()? })
        };
        let stores = (0..take.count(64)?).map(|_| proof(&mut take)).collect::<Result<_, _>>()?;
        take.end()?;
        Ok(Self { node, stores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Addresses, Roles};

    fn facts() -> NodeFacts {
        let addresses = Addresses { cluster: "a:1".into(), http: "a:2".into(), native: String::new() };
        NodeFacts { id: 3, instance: 9 << 70, roles: Roles::ALL, addresses }
    }

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        fn check<T: PartialEq + std::fmt::Debug>(
            value: &T,
            bytes: &[u8],
            decode: impl Fn(&[u8]) -> Result<T, CodecError>,
        ) {
            assert_eq!(decode(bytes).as_ref(), Ok(value));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
            }
            assert_eq!(decode(&[bytes, &[0]].concat()), Err(FieldError::Trailing.into()));
            let later = [&[2], &bytes[1..]].concat();
            assert!(decode(&later).unwrap_err().to_string().contains("update it"));
        }
        let join = Join(facts());
        check(&join, &join.encode(), Join::decode);
        let store = |probe| OfferedStore { name: "orders".into(), statement: "CREATE …".into(), probe };
        for stores in [Vec::new(), vec![store(1), store(2)]] {
            let offer = Offer { cluster: 5 << 80, stores };
            check(&offer, &offer.encode(), Offer::decode);
        }
        let proof = Proof { node: 3, stores: vec![StoreProof { probe: 1, secret: 2, own_probe: 3, own_secret: 4 }] };
        check(&proof, &proof.encode(), Proof::decode);
        for kind in AskKind::ALL {
            assert_eq!(AskKind::from_u8(kind.to_u8()), Some(kind));
        }
    }
}
