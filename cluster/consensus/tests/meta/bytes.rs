//! The bytes of commands and snapshots: fixtures of every version, and bytes that nobody wrote.

use crate::cluster::{CLUSTER, Cluster, STORE, facts, group, nodes, register, remember};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_consensus::FieldError;
use strandline_consensus::meta::{
    CodecError, Command, Erasable, Followers, GroupId, MetaState, Placement, Roles, StoreEntry,
};
use strandline_wal::LeaderId;

/// Commands have version 1, snapshots 7 where the fewest follow, 5 where a group says who shall lead it, else 4.
fn fixture(name: &str) -> PathBuf {
    let folder = match name {
        "led.snapshot" => "fixtures/meta-v5",
        "fewest.snapshot" => "fixtures/meta-v7",
        _ if name.ends_with(".snapshot") => "fixtures/meta-v4",
        _ => "fixtures/meta-v1",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name)
}

/// Writes it where that is asked for, and gives what is there.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
        std::fs::write(fixture(name), bytes).unwrap();
    }
    std::fs::read(fixture(name)).unwrap()
}

fn commands() -> Vec<(&'static str, Command)> {
    let node = facts(7, "ingest,read");
    let (id, addresses) = (node.id, node.addresses.clone());
    vec![
        ("create", Command::Create { cluster: CLUSTER, replication: 3, node: node.clone() }),
        ("declare", Command::DeclareStore { replaces: 2, name: STORE.into(), statement: "CREATE …;".into() }),
        (
            "register",
            Command::RegisterType {
                store: STORE.into(),
                name: "Order/ü".into(),
                buckets: 4,
                erasable: Erasable::Tenant,
                registered: true,
            },
        ),
        ("add", Command::AddNode(node)),
        ("admit", Command::Admit(id)),
        ("readdress", Command::Readdress { node: id, instance: 7 << 64, addresses }),
        ("drain", Command::Drain(id)),
        ("undrain", Command::Undrain(id)),
        ("remove", Command::Remove(id)),
        ("replace", Command::Replace { lost: 3, with: id }),
        ("move", Command::Move { group: group("Order", 2), from: 1, to: id }),
        ("move-meta", Command::Move { group: GroupId::Meta, from: 1, to: id }),
        ("settled", Command::Settled { group: group("Order", 2), epoch: 9, voters: nodes(&[2, 3, 7]) }),
        ("replication", Command::SetReplication(5)),
        ("roles", Command::SetRoles { node: id, instance: 7 << 64, roles: Roles::parse("compact").unwrap() }),
        ("compact", Command::Compact { store: STORE.into(), node: id }),
        ("pause", Command::Pause { store: STORE.into(), paused: true }),
        (
            "remember",
            Command::Remember {
                store: STORE.into(),
                owner: LeaderId { term: 5, node: id },
                turn: 9,
                entries: vec![("mails".into(), Arc::from(*b"kept")), ("gone".into(), Arc::from(*b""))],
            },
        ),
        ("lead", Command::Lead { group: group("Order", 2), node: Some(id) }),
        ("lead-any", Command::Lead { group: group("Order", 2), node: None }),
        ("move-lead", Command::MoveLead { group: group("Order", 2), from: 1, to: id }),
        ("follow", Command::Follow(Followers::Needed)),
        ("keep", Command::Keep { store: STORE.into(), keeps: true }),
        (
            "register-without",
            Command::RegisterWithout {
                store: STORE.into(),
                name: "Order/ü".into(),
                buckets: 4,
                erasable: Erasable::Tenant,
                registered: true,
                away: nodes(&[2, 7]),
            },
        ),
        ("found", Command::Found { group: group("Order", 2), epoch: 9, node: id }),
    ]
}

fn state() -> MetaState {
    made().state
}

/// As `state`, and node 4 shall lead one of its groups.
fn led() -> MetaState {
    let mut cluster = made();
    cluster.done(&Command::Lead { group: group("Order", 1), node: Some(4) });
    cluster.state
}

/// As `led`, by the other rule of who follows; its nodes follow by either.
fn needed() -> MetaState {
    let mut cluster = Cluster { state: led() };
    cluster.done(&Command::Follow(Followers::Needed));
    cluster.state
}

/// As `led`, by the third rule, and an office takes the logs of its store.
fn fewest() -> MetaState {
    let mut cluster = Cluster { state: led() };
    cluster.done(&Command::Follow(Followers::Fewest));
    cluster.done(&Command::Keep { store: STORE.into(), keeps: true });
    cluster.state
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn made() -> Cluster {
    let mut cluster = Cluster::of(4, 3);
    cluster.done(&register("Order", 2));
    cluster.settle();
    cluster.join(5, "compact");
    cluster.done(&Command::Compact { store: STORE.into(), node: 5 });
    cluster.done(&Command::Pause { store: STORE.into(), paused: true });
    cluster.done(&remember(1, "mails", b"kept"));
    cluster.done(&Command::Drain(2));
    cluster.done(&Command::AddNode(facts(6, "read")));
    cluster.done(&Command::AddNode(facts(8, "read")));
    cluster.done(&Command::Remove(8));
    cluster
}

#[test]
fn commands_of_version_1_are_these_bytes() {
    for (name, command) in commands() {
        let golden = golden(&format!("{name}.command"), &command.encode());
        assert_eq!(command.encode(), golden, "{name}: the layout has changed; a new one is a new version");
        assert_eq!(Command::decode(&golden).unwrap(), command, "{name}");
    }
    let mut kinds: Vec<u8> = commands().iter().map(|(_, command)| command.encode()[1]).collect();
    kinds.dedup();
    assert_eq!(kinds, (1..=23).collect::<Vec<u8>>(), "every kind has a fixture");
}

#[test]
fn earlier_snapshots_are_read_without_what_they_do_not_say() {
    for version in [1, 2, 3] {
        for name in ["empty", "cluster"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/meta-v{version}"));
            let old = MetaState::decode(&std::fs::read(folder.join(format!("{name}.snapshot"))).unwrap()).unwrap();
            let founded = |(group, of): (&GroupId, &Placement)| *group != GroupId::Meta && of.founder.is_some();
            assert_eq!(old.groups().iter().any(founded), version > 1 && name == "cluster");
            let named = |store: &StoreEntry| store.compactor.is_some() && store.compactor_epoch > 0;
            assert!(old.stores().values().all(|store| named(store) == (version == 3)));
            assert!(old.stores().values().all(|store| !store.paused && store.remembered.is_empty()));
            assert!(old.groups().values().all(|of| of.leads.is_none()));
            assert!(old.cluster().is_none_or(|cluster| cluster.followers == Followers::All));
            assert_eq!(MetaState::decode(&old.encode()).unwrap(), old, "{name}");
        }
    }
}

#[test]
fn snapshots_of_versions_4_and_5_are_these_bytes() {
    for (name, version, state) in [("empty", 4, MetaState::default()), ("cluster", 4, state()), ("led", 5, led())] {
        let golden = golden(&format!("{name}.snapshot"), &state.encode());
        assert_eq!(golden[4], version, "{name}: who does not know version 5 reads what needs no more than 4");
        assert_eq!(state.encode(), golden, "{name}: the layout has changed; a new one is a new version");
        assert_eq!(MetaState::decode(&golden).unwrap(), state, "{name}");
    }
}

#[test]
fn a_snapshot_of_version_6_is_one_of_version_5_but_for_who_follows() {
    let mut bytes = std::fs::read(fixture("led.snapshot")).unwrap();
    let applied = led().applied() + 1;
    bytes[4] = 6;
    bytes[8..16].copy_from_slice(&applied.to_le_bytes());
    bytes[18] = 2;
    let bytes = with_crc(bytes);
    assert_eq!(needed().encode(), bytes, "the layout has changed; a new one is a new version");
    assert_eq!(MetaState::decode(&bytes).unwrap(), needed());
    // a state has one form: that all follow says version 5
    for other in [0, 1, 3] {
        let mut bytes = bytes.clone();
        bytes[18] = other;
        assert!(matches!(MetaState::decode(&with_crc(bytes)), Err(CodecError::Field(_))), "{other}");
    }
    let mut early = std::fs::read(fixture("led.snapshot")).unwrap();
    early[18] = 2;
    assert_eq!(MetaState::decode(&with_crc(early)), Err(FieldError::NotZero.into()));
}

#[test]
fn a_snapshot_of_version_7_says_of_each_store_whether_an_office_takes_its_logs() {
    let state = fewest();
    let golden = golden("fewest.snapshot", &state.encode());
    assert_eq!((golden[4], golden[18]), (7, 3));
    assert_eq!(state.encode(), golden, "the layout has changed; a new one is a new version");
    assert_eq!(MetaState::decode(&golden).unwrap(), state);
    assert_eq!(golden.len(), needed().encode().len() + 1, "one byte a store");
    // a state has one form: each rule has its version
    for (version, who) in [(6, 3), (7, 1), (7, 2), (5, 3)] {
        let mut other = golden.clone();
        (other[4], other[18]) = (version, who);
        assert!(matches!(MetaState::decode(&with_crc(other)), Err(CodecError::Field(_))), "{version} {who}");
    }
}

#[test]
fn a_command_is_what_the_document_says() {
    assert_eq!(Command::Drain(258).encode(), [1, 7, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_later_program_is_named_and_nothing_is_guessed() {
    let mut bytes = Command::Drain(1).encode();
    bytes[0] = 2;
    let text = Command::decode(&bytes).unwrap_err().to_string();
    assert!(text.contains("older program"), "{text}");
    (bytes[0], bytes[1]) = (1, 200);
    assert_eq!(Command::decode(&bytes), Err(CodecError::Kind(200)));
    (bytes[1], bytes[2]) = (7, 1);
    assert_eq!(Command::decode(&bytes), Err(FieldError::NotZero.into()));
    let mut snapshot = state().encode();
    snapshot[4] = 9;
    assert_eq!(MetaState::decode(&snapshot), Err(CodecError::Version(9, "a snapshot")));
}

#[test]
fn bytes_that_were_cut_or_changed_are_refused_and_never_panic() {
    for (name, command) in commands() {
        let whole = command.encode();
        for end in 0..whole.len() {
            assert!(Command::decode(&whole[..end]).is_err(), "{name} cut at {end}");
        }
        assert_eq!(Command::decode(&[&whole[..], &[0]].concat()), Err(FieldError::Trailing.into()), "{name}");
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                // another command perhaps, but then it is written the same way
                if let Ok(other) = Command::decode(&flipped) {
                    assert_eq!(other.encode(), flipped, "{name} at {at}");
                }
            }
        }
    }
    for whole in [state().encode(), led().encode(), needed().encode(), fewest().encode()] {
        for end in 0..whole.len() {
            assert!(MetaState::decode(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            assert!(MetaState::decode(&flipped).is_err(), "flipped at {at}");
        }
    }
}

#[test]
fn counts_that_the_bytes_cannot_hold_make_nothing() {
    let mut bytes = Command::Settled { group: GroupId::Meta, epoch: 1, voters: nodes(&[]) }.encode();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Command::decode(&bytes), Err(FieldError::Short.into()));
    let unsorted = Command::Settled { group: GroupId::Meta, epoch: 1, voters: nodes(&[1, 2]) }.encode();
    let mut swapped = unsorted.clone();
    let at = unsorted.len() - 16;
    swapped[at..at + 8].copy_from_slice(&3_u64.to_le_bytes());
    assert!(matches!(Command::decode(&swapped), Err(CodecError::Field(FieldError::Value(_)))));
}
