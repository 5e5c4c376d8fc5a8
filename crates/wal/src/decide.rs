//! What recovery does at the first place of a segment where no good frame stands: a decision table over facts.
//!
//! One group is in flight at a time and its blocks reach the disk in any order or not at all; everything follows from that.
//! FORMAT.md section 7 shows the same table.

/// What stands at the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Zeros, or the end of the file.
    Nothing,
    /// Bytes that are no good frame.
    Bad,
    /// A good header of a version that this program does not read.
    Foreign,
    /// A frame whose checksums are right and whose tag is not: no torn write looks so.
    Forged,
}

/// Where the place is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A group may start here, or none.
    BetweenGroups,
    /// The group is not at its end.
    InsideGroup,
}

/// The group of the place against the highest "synced below" of any good header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A good frame says that this group is on the disk.
    Below,
    /// Nothing says so.
    AtOrAbove,
}

/// Good headers behind the place, in the same segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// None.
    Nothing,
    /// Only of the group of the place.
    OwnGroup,
    /// Of a later group, written with fsync: the group of the place was acknowledged.
    LaterGroup,
    /// Of later groups, all written without fsync: the kernel chose the order.
    LaterUnsynced,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What stands there.
    pub found: Found,
    /// Where it is.
    pub place: Place,
    /// Its group against the mark.
    pub mark: Mark,
    /// What is behind it.
    pub behind: Behind,
    /// Whether it is the last segment.
    pub last_segment: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The log ends here, in order.
    End,
    /// The log ends here; what was torn was never acknowledged.
    Cut,
    /// Acknowledged bytes are damaged: report, never skip.
    Corrupt,
}

/// The table.
#[must_use]
pub const fn decide(facts: Facts) -> Decision {
    match facts {
        Facts { found: Found::Foreign | Found::Forged, .. }
        | Facts { last_segment: false, .. }
        | Facts { mark: Mark::Below, .. }
        | Facts { behind: Behind::LaterGroup, .. } => Decision::Corrupt,
        Facts { found: Found::Nothing, place: Place::BetweenGroups, behind: Behind::Nothing, .. } => Decision::End,
        Facts { behind: Behind::Nothing | Behind::OwnGroup | Behind::LaterUnsynced, .. } => Decision::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Facts> {
        let mut out = Vec::new();
        for found in [Found::Nothing, Found::Bad, Found::Foreign, Found::Forged] {
            for place in [Place::BetweenGroups, Place::InsideGroup] {
                for mark in [Mark::Below, Mark::AtOrAbove] {
                    for behind in [Behind::Nothing, Behind::OwnGroup, Behind::LaterGroup, Behind::LaterUnsynced] {
                        for last_segment in [false, true] {
                            out.push(Facts { found, place, mark, behind, last_segment });
                        }
                    }
                }
            }
        }
        out
    }

    /// The same rule, said the other way round: why may this place not be cut?
    fn acknowledged(f: Facts) -> bool {
        let proven_by_mark = f.mark == Mark::Below;
        let proven_by_later_group = f.behind == Behind::LaterGroup;
        let proven_by_later_segment = !f.last_segment;
        proven_by_mark || proven_by_later_group || proven_by_later_segment
    }

    #[test]
    fn every_combination() {
        let all = all();
        assert_eq!(all.len(), 128);
        for f in all {
            let untouched = f.found == Found::Nothing && f.place == Place::BetweenGroups && f.behind == Behind::Nothing;
            let not_by_a_crash = matches!(f.found, Found::Foreign | Found::Forged);
            let wanted = if acknowledged(f) || not_by_a_crash {
                Decision::Corrupt
            } else if untouched {
                Decision::End
            } else {
                Decision::Cut
            };
            assert_eq!(decide(f), wanted, "{f:?}");
        }
    }
}
