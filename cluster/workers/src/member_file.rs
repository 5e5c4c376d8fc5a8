//! Which member of which cluster a data folder belongs to: `{data-dir}/member`, written once more when the node is let in.
//!
//! ```text
//! strandline member <1; 2 where it says roles>
//! cluster <32 hex digits; zeros: it has begun to join and was not let in yet>
//! node <number>
//! instance <32 hex digits: random, for ever; a folder that was made again has others>
//! founds <yes|no: it made the cluster>
//! roles <version 2: ingest,compact,read in this order, those that the node has; version 1: all of them>
//! crc32c <8 hex digits: of all bytes before this line>
//! ```
//!
//! It is written before anybody is told the instance: a node that dies while it joins is the same one when it comes back. What the roles of a
//! member are the cluster says; the file follows it, and says what a node asks for that has not joined yet.

use crate::data_dir::{DataDirError, at, make_folder, parse_node_id, write_whole};
use std::fs;
use std::io;
use std::path::Path;
use strandline_consensus::NodeId;
use strandline_consensus::join::Folder;
use strandline_consensus::meta::Roles;

const NAME: &str = "member";

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberFile {
    /// The cluster; 0: it was not let in yet.
    pub cluster: u128,
    /// The node.
    pub node: NodeId,
    /// The folder's random bits.
    pub instance: u128,
    /// It made the cluster.
    pub founds: bool,
    /// What the node does.
    pub roles: Roles,
}

impl MemberFile {
    /// Reads it; `None`: the folder belongs to no member.
    ///
    /// # Errors
    /// It is damaged, or what the file system says.
    pub fn read(dir: &Path) -> Result<Option<Self>, DataDirError> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => Self::decode(&bytes).map(Some).ok_or(DataDirError::Member(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(at(&path)(e)),
        }
    }

    /// Writes it, durable on return; the folder is made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, dir: &Path) -> Result<(), DataDirError> {
        make_folder(dir)?;
        write_whole(&dir.join(NAME), self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let founds = if self.founds { "yes" } else { "no" };
        // a node that does everything keeps the form that every program reads
        let (version, roles) =
            if self.roles == Roles::ALL { (1, String::new()) } else { (2, format!("roles {}\n", self.roles)) };
        let body = format!(
            "strandline member {version}\ncluster {:032x}\nnode {}\ninstance {:032x}\nfounds {founds}\n{roles}",
            self.cluster, self.node, self.instance
        );
        format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let says_roles = match lines.next()? {
            "strandline member 1" => false,
            "strandline member 2" => true,
            _ => return None,
        };
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let member = Self {
            cluster: u128::from_str_radix(field("cluster")?, 16).ok()?,
            node: field("node")?.parse().ok()?,
            instance: u128::from_str_radix(field("instance")?, 16).ok()?,
            founds: field("founds")? == "yes",
            roles: if says_roles { Roles::parse(field("roles")?).ok()? } else { Roles::ALL },
        };
        // one form only: what is written the same is whole
        (member.encode().as_bytes() == bytes).then_some(member)
    }
}

/// Whose a data folder is, looked at without touching it.
///
/// # Errors
/// A file in it is damaged, or what the file system says.
pub fn whose_folder(dir: &Path) -> Result<Folder, DataDirError> {
    match MemberFile::read(dir)? {
        Some(MemberFile { cluster: 0, node, .. }) => return Ok(Folder::Joining { node }),
        Some(MemberFile { cluster, node, .. }) => return Ok(Folder::Member { node, cluster }),
        None => {}
    }
    let path = dir.join("node-id");
    match fs::read(&path) {
        Ok(bytes) => match parse_node_id(&bytes) {
            Some(node) => Ok(Folder::Alone { node }),
            None => Err(DataDirError::NodeId(path)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Folder::Empty),
        Err(e) => Err(at(&path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberFile =
        MemberFile { cluster: 5 << 100, node: 3, instance: 7 << 90, founds: false, roles: Roles::ALL };
    const READER: MemberFile = MemberFile { roles: Roles { ingest: false, compact: false, read: true }, ..MEMBER };

    #[test]
    fn a_folder_says_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        assert_eq!(whose_folder(&dir).unwrap(), Folder::Empty);
        assert!(!dir.exists());
        MemberFile { cluster: 0, ..MEMBER }.write(&dir).unwrap();
        assert_eq!(whose_folder(&dir).unwrap(), Folder::Joining { node: 3 });
        MEMBER.write(&dir).unwrap();
        assert_eq!(MemberFile::read(&dir).unwrap(), Some(MEMBER));
        assert_eq!(whose_folder(&dir).unwrap(), Folder::Member { node: 3, cluster: 5 << 100 });
        let alone = folder.path().join("alone");
        let id = crate::data_dir::DataDir::open(&alone).unwrap().node_id();
        assert_eq!(whose_folder(&alone).unwrap(), Folder::Alone { node: id });
    }

    #[test]
    fn a_file_says_roles_where_a_node_does_not_do_everything() {
        let folder = tempfile::tempdir().unwrap();
        assert!(MEMBER.encode().starts_with("strandline member 1\n") && !MEMBER.encode().contains("roles"));
        assert!(READER.encode().starts_with("strandline member 2\n") && READER.encode().contains("\nroles read\n"));
        for member in [READER, MEMBER] {
            member.write(folder.path()).unwrap();
            assert_eq!(MemberFile::read(folder.path()).unwrap(), Some(member));
        }
    }

    #[test]
    fn a_damaged_file_is_never_taken_for_another_node() {
        [MEMBER, READER].iter().for_each(|member| damaged_anywhere(&member.encode()));
    }

    fn damaged_anywhere(whole: &str) {
        let folder = tempfile::tempdir().unwrap();
        for end in 0..whole.len() {
            fs::write(folder.path().join(NAME), &whole[..end]).unwrap();
            assert!(matches!(whose_folder(folder.path()), Err(DataDirError::Member(_))), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[at] ^= 1;
            fs::write(folder.path().join(NAME), &bytes).unwrap();
            assert!(whose_folder(folder.path()).is_err(), "changed at {at}");
        }
    }
}
