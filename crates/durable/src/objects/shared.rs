//! What nodes of a cluster ask of a place that they share: whose it is, and whether they see the same one.
//!
//! One object, `.cluster`, says to which cluster a store belongs; it is created once and never changed. Probes prove that two
//! nodes write and read the same place: each reads what the other has just created. A folder that is not shared fails the probe,
//! whatever it holds. `FORMAT.md`, section 6.

use super::{Created, NotCreated, ObjectError, Objects, create};
use crate::tier::names::PROBE_PREFIX;

/// Name of the object that says whose the store is.
pub const CLUSTER_MARK: &str = ".cluster";

/// To which cluster a store belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterMark {
    /// The cluster's id.
    pub cluster: u128,
    /// Name of the store in it.
    pub store: String,
}

/// Why a place cannot be taken for a cluster's store.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// It belongs to somebody else.
    #[error(
        "durable.path belongs to store `{}` of cluster {:032x}: a node of that cluster joins it with --join, another store needs \
         another durable.path", .0.store, .0.cluster
    )]
    Others(ClusterMark),
    /// The object is damaged.
    #[error(
        "`{CLUSTER_MARK}` at durable.path is damaged: put it back from another node's view of the same place, or from a backup"
    )]
    Damaged,
    /// The place says no, or does not answer.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl ClusterMark {
    fn encode(&self) -> Vec<u8> {
        let body = format!("strandline cluster 1\ncluster {:032x}\nstore {}\n", self.cluster, self.store);
        format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (cluster, rest) = text.strip_prefix("strandline cluster 1\ncluster ")?.split_once("\nstore ")?;
        let (store, _) = rest.split_once('\n')?;
        let mark = Self { cluster: u128::from_str_radix(cluster, 16).ok()?, store: store.to_owned() };
        // one form only: what is read back as written is whole
        (mark.encode() == bytes).then_some(mark)
    }
}

/// Whose the store is; `None`: nobody's yet, or a node's alone.
///
/// # Errors
/// [`MarkError`]: it is damaged, or the place does not answer.
pub fn cluster_mark(objects: &dyn Objects) -> Result<Option<ClusterMark>, MarkError> {
    match objects.get(CLUSTER_MARK) {
        Ok(bytes) => ClusterMark::decode(&bytes).map(Some).ok_or(MarkError::Damaged),
        Err(ObjectError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the store this cluster's, by a conditional create. `false`: it was already.
///
/// # Errors
/// [`MarkError::Others`], and what the place says; an unclear answer is settled by calling it again.
pub fn mark_for_cluster(objects: &dyn Objects, mark: &ClusterMark) -> Result<bool, MarkError> {
    match create(objects, CLUSTER_MARK, &mark.encode()).map_err(NotCreated::into_error)? {
        Created::Ours => Ok(true),
        Created::Others => match cluster_mark(objects)? {
            Some(there) if there == *mark => Ok(false),
            Some(there) => Err(MarkError::Others(there)),
            None => Err(MarkError::Damaged),
        },
    }
}

/// A probe: 16 random bytes under a name of 16 other ones. Who can tell the bytes sees the place in which they were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeProbe {
    /// Its name.
    pub name: u128,
    /// What it holds.
    pub secret: u128,
}

impl NodeProbe {
    fn path(name: u128) -> String {
        format!("{PROBE_PREFIX}node-{name:032x}")
    }

    /// Creates it.
    ///
    /// # Errors
    /// What the place says.
    pub fn write(&self, objects: &dyn Objects) -> Result<(), ObjectError> {
        let text = format!("{:032x}\n", self.secret);
        match create(objects, &Self::path(self.name), text.as_bytes()).map_err(NotCreated::into_error)? {
            Created::Ours => Ok(()),
            Created::Others => Err(ObjectError::AlreadyExists { path: Self::path(self.name) }),
        }
    }

    /// Reads what another node has created under this name; `None`: nothing is there.
    ///
    /// # Errors
    /// What the place says.
    pub fn read(objects: &dyn Objects, name: u128) -> Result<Option<u128>, ObjectError> {
        match objects.get(&Self::path(name)) {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).ok().map(str::trim_end).filter(|text| text.len() == 32);
                Ok(text.and_then(|text| u128::from_str_radix(text, 16).ok()))
            }
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes it away; one that stays is swept as an orphan.
    ///
    /// # Errors
    /// What the place says.
    pub fn remove(objects: &dyn Objects, name: u128) -> Result<(), ObjectError> {
        match objects.delete(&Self::path(name)) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{LocalObjects, StoreObjects};

    fn mark(cluster: u128) -> ClusterMark {
        ClusterMark { cluster, store: "orders".into() }
    }

    fn places() -> Vec<(Option<tempfile::TempDir>, Box<dyn Objects>)> {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalObjects::open(folder.path()).unwrap();
        vec![(Some(folder), Box::new(local)), (None, Box::new(StoreObjects::memory().unwrap()))]
    }

    #[test]
    fn a_store_belongs_to_the_cluster_that_came_first() {
        for (_folder, place) in places() {
            assert_eq!(cluster_mark(&*place).unwrap(), None);
            assert!(mark_for_cluster(&*place, &mark(7)).unwrap());
            // an object store's answer may have been lost: the same bytes are ours again
            mark_for_cluster(&*place, &mark(7)).unwrap();
            let other = mark_for_cluster(&*place, &mark(8)).unwrap_err();
            assert!(matches!(&other, MarkError::Others(there) if *there == mark(7)), "{other}");
            assert!(other.to_string().contains("00000007") && other.to_string().contains("--join"), "{other}");
            let renamed = ClusterMark { store: "other".into(), ..mark(7) };
            assert!(matches!(mark_for_cluster(&*place, &renamed), Err(MarkError::Others(_))));
            assert_eq!(cluster_mark(&*place).unwrap(), Some(mark(7)));
        }
    }

    #[test]
    fn a_mark_is_read_whole_or_not_at_all() {
        let whole = mark(7).encode();
        assert_eq!(ClusterMark::decode(&whole), Some(mark(7)));
        for end in 0..whole.len() {
            assert_eq!(ClusterMark::decode(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(ClusterMark::decode(&flipped), None, "changed at {at}");
        }
        let place = StoreObjects::memory().unwrap();
        place.put_new(CLUSTER_MARK, &whole[..20]).unwrap();
        assert!(matches!(cluster_mark(&place), Err(MarkError::Damaged)));
        assert!(matches!(mark_for_cluster(&place, &mark(7)), Err(MarkError::Damaged)));
    }

    #[test]
    fn a_mark_of_version_1_is_these_bytes() {
        let text = "strandline cluster 1\ncluster 00000000000000000000000000000007\nstore orders\ncrc32c 06dca2de\n";
        assert_eq!(String::from_utf8(mark(7).encode()).unwrap(), text);
    }

    #[test]
    fn a_probe_is_seen_in_its_own_place_alone() {
        let (here, there) = (places().remove(0), places().remove(0));
        let probe = NodeProbe { name: 1, secret: 2 };
        probe.write(&*here.1).unwrap();
        assert_eq!(NodeProbe::read(&*here.1, 1).unwrap(), Some(2));
        assert_eq!(NodeProbe::read(&*there.1, 1).unwrap(), None);
        NodeProbe::remove(&*here.1, 1).unwrap();
        NodeProbe::remove(&*here.1, 1).unwrap();
        assert_eq!(NodeProbe::read(&*here.1, 1).unwrap(), None);
    }
}
