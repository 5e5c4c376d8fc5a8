//! Who else may read a file of secrets: keys, tokens, private keys of certificates.
//!
//! | may read it | |
//! |---|---|
//! | its owner alone | taken |
//! | its group too | taken where root owns it and the group is one of this process's: root gave it to that group, so a secret of Kubernetes comes (`fsGroup`, root, mode 0440) |
//! | its group may change it, or others may do anything | refused |
//!
//! A file of this process's own user has, by accident, whatever group the user has: often one that many share (`users`). It has no need of
//! its group, so there it is refused, as PostgreSQL does with the key of a server.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Why a file of secrets is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooOpen {
    /// Others than its owner may change it, or others than its group may read it.
    #[error("others may read or change it (mode {mode:04o}): chmod 600 it")]
    Others {
        /// Its permissions.
        mode: u32,
    },
    /// Its group may read it, and that group is not this process's, or it does not belong to root.
    #[error(
        "its group may read it (mode {mode:04o}, user {user}, group {group}), which is taken only where root owns it and the group is one of this \
         process's: chmod 600 it, or give it to root and to a group that nobody else is in, with mode 0440"
    )]
    Group {
        /// Its permissions.
        mode: u32,
        /// Its owner.
        user: u32,
        /// Its group.
        group: u32,
    },
}

/// Whether a file with these facts may hold secrets of this process.
///
/// # Errors
/// [`TooOpen`].
pub fn check(facts: &Metadata) -> Result<(), TooOpen> {
    let mine = |group| {
        let of_process = rustix::process::getegid().as_raw() == group;
        of_process || rustix::process::getgroups().is_ok_and(|all| all.iter().any(|one| one.as_raw() == group))
    };
    judge(facts.permissions().mode() & 0o7777, (facts.uid(), facts.gid()), mine)
}

fn judge(mode: u32, (user, group): (u32, u32), mine: impl Fn(u32) -> bool) -> Result<(), TooOpen> {
    if mode & 0o037 != 0 {
        return Err(TooOpen::Others { mode });
    }
    let is_read_by_group = mode & 0o040 != 0;
    if is_read_by_group && !(user == 0 && mine(group)) {
        return Err(TooOpen::Group { mode, user, group });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_root_gave_to_a_group_of_this_process() {
        let judged = |mode, owner| judge(mode, owner, |group| [1000, 65532].contains(&group));
        for mode in [0o400, 0o600] {
            assert_eq!(judged(mode, (77, 77)), Ok(()), "{mode:o}");
        }
        for (mode, owner) in [(0o440, (0, 65532)), (0o640, (0, 65532)), (0o440, (0, 1000))] {
            assert_eq!(judged(mode, owner), Ok(()), "{mode:o} {owner:?}");
        }
        // the last two: the user of this process, whose group may be everybody's
        let others = [(0, 77), (77, 1000), (77, 77), (0, 0), (1000, 1000), (1000, 65532)];
        for (mode, (user, group)) in others.into_iter().flat_map(|owner| [(0o440, owner), (0o640, owner)]) {
            let refused = judged(mode, (user, group));
            assert_eq!(refused, Err(TooOpen::Group { mode, user, group }));
        }
        for mode in [0o604, 0o602, 0o601, 0o620, 0o610, 0o660, 0o644, 0o444, 0o777] {
            assert_eq!(judged(mode, (0, 1000)), Err(TooOpen::Others { mode }), "{mode:o}");
        }
    }

    #[test]
    fn the_facts_of_a_file_are_judged() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            check(&file.as_file().metadata().unwrap())
        };
        // its group is the one that this process makes files with, its owner may be root
        assert_eq!(with(0o440).is_ok(), rustix::process::geteuid().is_root());
        assert_eq!(with(0o400), Ok(()));
        assert_eq!(with(0o604), Err(TooOpen::Others { mode: 0o604 }));
    }
}
