//! The proof that a joining node shares a store's durable.path, both sides of it. Everything here blocks.

use crate::join::codec::StoreProof;
use strandline_durable::objects::{ClusterMark, MarkError, NodeProbe, ObjectError, Objects, cluster_mark};

/// Why a node is not let in.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The store-id object is not there.
    #[error(
        "store `{store}`: there is no store of the cluster at {location} as this node sees it: a folder of each machine's own is no \
         shared durable.path; mount the same folder on all nodes, or use an object store"
    )]
    NotShared {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
    },
    /// Another cluster's.
    #[error("store `{store}`: {location} belongs to store `{}` of cluster {:032x}, not to the cluster that this node joins", .there.store, .there.cluster)]
    OtherCluster {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
        /// Whose it is.
        there: ClusterMark,
    },
    /// What one side has written the other does not see.
    #[error(
        "store `{store}`: what {writer} has just written to {location} is not seen by {reader}: they do not share it; mount the \
         same folder on all nodes, or use an object store"
    )]
    Unseen {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
        /// Who wrote.
        writer: &'static str,
        /// Who looked.
        reader: &'static str,
    },
    /// The object that says so cannot be read.
    #[error("store `{0}`: {1}")]
    Mark(String, MarkError),
    /// The place says no, or does not answer.
    #[error("store `{store}`: this node cannot read and write at {location}: {error}")]
    Object {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
        /// What it says.
        error: ObjectError,
    },
}

/// A store whose place is looked at.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its name.
    pub store: &'a str,
    /// Its durable.path, for people.
    pub location: &'a str,
    /// What is there.
    pub objects: &'a dyn Objects,
}

impl Place<'_> {
    fn object(&self, error: ObjectError) -> ProofError {
        ProofError::Object { store: self.store.to_owned(), location: self.location.to_owned(), error }
    }

    fn unseen(&self, writer: &'static str, reader: &'static str) -> ProofError {
        ProofError::Unseen { store: self.store.to_owned(), location: self.location.to_owned(), writer, reader }
    }
}

/// A member's side, first: a probe for the joining node to find.
///
/// # Errors
/// What the place says.
pub fn offer_store(place: Place<'_>, probe: NodeProbe) -> Result<(), ProofError> {
    probe.write(place.objects).map_err(|error| place.object(error))
}

/// The joining node's side: the store is the cluster's, the member's probe is there, and one of its own is written. `bits`: random,
/// its name and what it holds.
///
/// # Errors
/// [`ProofError`]: it does not share the store.
pub fn prove_store(place: Place<'_>, cluster: u128, probe: u128, bits: (u128, u128)) -> Result<StoreProof, ProofError> {
    let (store, location) = (place.store.to_owned(), place.location.to_owned());
    match cluster_mark(place.objects).map_err(|error| ProofError::Mark(store.clone(), error))? {
        None => return Err(ProofError::NotShared { store, location }),
        Some(there) if there.cluster != cluster || there.store != place.store => {
            return Err(ProofError::OtherCluster { store, location, there });
        }
        Some(_) => {}
    }
    let secret = NodeProbe::read(place.objects, probe).map_err(|error| place.object(error))?;
    let secret = secret.ok_or_else(|| place.unseen("a member", "the joining node"))?;
    let (own_probe, own_secret) = bits;
    NodeProbe { name: own_probe, secret: own_secret }.write(place.objects).map_err(|error| place.object(error))?;
    Ok(StoreProof { probe, secret, own_probe, own_secret })
}

/// The member's side, last: the joining node tells what the probe held, and its own one is there. Both go.
///
/// # Errors
/// [`ProofError`]: it does not share the store.
pub fn check_proof(place: Place<'_>, probe: NodeProbe, proof: StoreProof) -> Result<(), ProofError> {
    let own = NodeProbe::read(place.objects, proof.own_probe).map_err(|error| place.object(error))?;
    // one that stays is swept
    let _ = NodeProbe::remove(place.objects, probe.name);
    let _ = NodeProbe::remove(place.objects, proof.own_probe);
    if (proof.probe, proof.secret) != (probe.name, probe.secret) {
        return Err(place.unseen("a member", "the joining node"));
    }
    if own != Some(proof.own_secret) {
        return Err(place.unseen("the joining node", "a member"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_durable::objects::{LocalObjects, mark_for_cluster};

    const CLUSTER: u128 = 7;
    const PROBE: NodeProbe = NodeProbe { name: 1, secret: 2 };

    struct Side(tempfile::TempDir, LocalObjects);

    impl Side {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let objects = LocalObjects::open(folder.path()).unwrap();
            Self(folder, objects)
        }

        fn place(&self) -> Place<'_> {
            Place { store: "orders", location: "/shared/orders", objects: &self.1 }
        }

        fn mark(&self, cluster: u128) {
            mark_for_cluster(&self.1, &ClusterMark { cluster, store: "orders".into() }).unwrap();
        }

        fn files(&self) -> usize {
            std::fs::read_dir(self.0.path()).unwrap().count()
        }
    }

    #[test]
    fn two_nodes_that_share_a_folder_prove_it_and_leave_nothing() {
        let shared = Side::new();
        shared.mark(CLUSTER);
        let files = shared.files();
        offer_store(shared.place(), PROBE).unwrap();
        let proof = prove_store(shared.place(), CLUSTER, PROBE.name, (3, 4)).unwrap();
        assert_eq!(proof, StoreProof { probe: 1, secret: 2, own_probe: 3, own_secret: 4 });
        check_proof(shared.place(), PROBE, proof).unwrap();
        assert_eq!(shared.files(), files);
    }

    #[test]
    fn a_folder_of_ones_own_is_refused() {
        let (member, joining) = (Side::new(), Side::new());
        member.mark(CLUSTER);
        offer_store(member.place(), PROBE).unwrap();
        let refused = prove_store(joining.place(), CLUSTER, PROBE.name, (3, 4)).unwrap_err().to_string();
        assert!(refused.contains("mount the same folder") && refused.contains("/shared/orders"), "{refused}");
        // also where somebody copied the store there
        joining.mark(CLUSTER);
        let refused = prove_store(joining.place(), CLUSTER, PROBE.name, (3, 4)).unwrap_err().to_string();
        assert!(refused.contains("a member has just written"), "{refused}");
    }

    #[test]
    fn who_guesses_or_writes_elsewhere_is_refused() {
        let (member, joining) = (Side::new(), Side::new());
        for side in [&member, &joining] {
            side.mark(CLUSTER);
            offer_store(side.place(), PROBE).unwrap();
        }
        // it was told the secret, and its own probe lies in a folder that the member does not see
        let proof = prove_store(joining.place(), CLUSTER, PROBE.name, (3, 4)).unwrap();
        let refused = check_proof(member.place(), PROBE, proof).unwrap_err().to_string();
        assert!(refused.contains("the joining node has just written"), "{refused}");
        offer_store(member.place(), PROBE).unwrap();
        let proof = prove_store(member.place(), CLUSTER, PROBE.name, (5, 6)).unwrap();
        let wrong = StoreProof { secret: 9, ..proof };
        assert!(check_proof(member.place(), PROBE, wrong).is_err());
    }

    #[test]
    fn a_store_of_another_cluster_is_refused() {
        let shared = Side::new();
        shared.mark(8);
        offer_store(shared.place(), PROBE).unwrap();
        let refused = prove_store(shared.place(), CLUSTER, PROBE.name, (3, 4)).unwrap_err().to_string();
        assert!(refused.contains("belongs to store `orders` of cluster 00000000000000000000000000000008"), "{refused}");
    }
}
