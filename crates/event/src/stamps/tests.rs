use super::*;
use crate::hex::{from_hex, to_hex};
use crate::limits::BATCH_ROWS_MAX;
use proptest::prelude::*;
use std::collections::BTreeSet;

const AT: Micros = Micros(1_795_428_000_000_000);
const KEY: u64 = 0x0123_4567_89ab_cdef;

fn key() -> NonZeroU64 {
    NonZeroU64::new(KEY).unwrap()
}

fn parsed(bytes: &[u8]) -> Result<Stamps, StampsError> {
    Stamps::parse(&SharedBytes::copy_aligned(bytes))
}

#[test]
fn the_bytes_are_those_of_the_format_for_one_row_as_for_several() {
    let prefix = IdPrefix::v7(Micros(5_000), 7);
    for rows in [&[(9_u64, 3_u32)][..], &[(9, 0), (1 << 40, 5)], &[(1, 0), (2, 0), (3, 1)]] {
        let (seqs, after_us): (Vec<u64>, Vec<u32>) = rows.iter().copied().unzip();
        let stamps = Stamps::of_rows((Micros(-6), prefix), &seqs, &after_us, &[]);
        let mut wanted = Vec::new();
        wanted.extend((Stamps::len_for(rows.len()) as u32).to_le_bytes());
        wanted.extend((rows.len() as u32).to_le_bytes());
        wanted.extend((-6_i64).to_le_bytes());
        wanted.extend(prefix.to_bytes());
        wanted.extend(seqs.iter().flat_map(|seq| seq.to_le_bytes()));
        wanted.extend(after_us.iter().flat_map(|us| us.to_le_bytes()));
        wanted.resize(wanted.len().next_multiple_of(16), 0);
        assert_eq!(stamps.bytes(), wanted);
        let again = parsed(&wanted).unwrap();
        for (row, (seq, after_us)) in rows.iter().enumerate() {
            assert_eq!((again.seq(row), stamps.seq(row)), (Seq(*seq), Seq(*seq)));
            let at = Micros(-6 + i64::from(*after_us));
            assert_eq!((again.ingested_at(row), stamps.ingested_at(row)), (at, at));
        }
    }
}

/// Stamps of four rows as each version writes them, with the ids that they make. These bytes stand in logs: they never change.
#[test]
fn every_version_is_written_and_read_as_ever() {
    let prefix = IdPrefix::v7(AT, 77 << 42 | 5 << 30 | 9);
    let seqs: [u64; 4] = [7, 1, 8, 1 << 40];
    let places: [u32; 4] = [0xf_c89c, 0x7_29a5, 0x0_93e5, 0xb_e166];
    let (rising, ranks): ([u32; 4], [u32; 4]) = ([0, 0, 1, 1], [0, 0, 1, 0]);
    let (none, some): (&[u32], &[u32]) = (&[], &[2, 9]);
    let of_rows = |refused: &[u32]| Stamps::of_rows((AT, prefix), &seqs, &rising, refused);
    let of_tenants = |refused: &[u32]| Stamps::of_tenants((AT, prefix), key(), (&seqs, &ranks), refused);
    let cases = [
        (of_rows(none), V1, rising, [0, 1, 2, 3], none),
        (of_rows(some), V2, rising, [0, 1, 2, 3], some),
        (of_tenants(none), V3, ranks, places, none),
        (of_tenants(some), V3_REFUSED, ranks, places, some),
    ];
    for (written, golden, after_us, lows, refused) in cases {
        assert_eq!(to_hex(written.bytes()), golden);
        let read = parsed(&from_hex(golden).unwrap()).unwrap();
        assert_eq!(read.places_key(), (lows == places).then(key));
        assert_eq!((read.rows(), read.first_ingested_at(), read.last_ingested_at()), (4, AT, AT.plus_us(1)));
        assert!(read.refused().eq(refused.iter().copied()) && read.are_sound());
        for (row, ((seq, after_us), low)) in seqs.into_iter().zip(after_us).zip(lows).enumerate() {
            let id = prefix.id(low);
            assert_eq!((read.seq(row), read.ingested_at(row)), (Seq(seq), AT.plus_us(i64::from(after_us))));
            assert_eq!((read.made_id(row), read.row_of_made_id(id)), (id, Some(row)));
            assert_eq!(read.row_of_made_id(IdPrefix::v7(AT, 5).id(low)), None, "the prefix is another batch's");
        }
    }
    assert_eq!(
        IdPrefix::v7(AT, 77 << 42 | 5 << 30 | 9).id(places[0]).to_string(),
        "01a207d9-2100-7005-8000-000904dfc89c"
    );
}

#[test]
fn what_is_no_version_is_damage() {
    let golden = from_hex(V3).unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = golden.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        parsed(&changed).map(|stamps| stamps.are_sound())
    };
    assert_eq!(changed(0, &golden[..1]), Ok(true));
    assert_eq!(changed(80, &[0; 8]), Err(StampsError), "no key");
    // another length, more rows than there are, the bit beside that of places, and none: then they are too long
    for (at, byte) in [(0, 80), (0, 112), (4, 5), (7, 0xc0), (7, 0x40), (7, 0)] {
        assert_eq!(changed(at, &[byte]), Err(StampsError), "{byte} at {at}");
    }
    // the largest moment is below one, or that of no row; a row's is above it
    for (at, byte) in [(88, 0), (88, 2), (64, 2), (72, 0)] {
        assert_eq!(changed(at, &[byte]), Ok(false), "{byte} at {at}");
    }
    for len in 0..golden.len() {
        assert!(parsed(&golden[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn there_is_room_for_what_becomes_of_a_request() {
    for rows in (1..200).chain([BATCH_ROWS_MAX - 1, BATCH_ROWS_MAX]) {
        let refused = (0..rows.min(40)).chain([rows / 2, rows - 1]);
        for refused in refused {
            for has_places in [false, true] {
                let bytes = Stamps::len_with(rows - refused, has_places) + Stamps::refused_len(refused);
                assert!(bytes <= Stamps::len_max_for(rows), "{refused} of {rows} refused");
            }
        }
    }
}

proptest! {
    #[test]
    fn stamps_come_back(
        rows in proptest::collection::vec((1..u64::MAX, 0..u32::MAX), 1..300),
        refused in proptest::collection::btree_set(0_u32..1000, 0..9),
        key in any::<Option<NonZeroU64>>(),
        (at, random) in (-1_000_000_i64..i64::from(u32::MAX), any::<u128>()),
    ) {
        let (seqs, mut after_us): (Vec<u64>, Vec<u32>) = rows.iter().copied().unzip();
        if key.is_none() {
            after_us.sort_unstable();
        }
        let (prefix, refused): (_, Vec<u32>) = (IdPrefix::v4(random), refused.into_iter().collect());
        let written = match key {
            Some(key) => Stamps::of_tenants((Micros(at), prefix), key, (&seqs, &after_us), &refused),
            None => Stamps::of_rows((Micros(at), prefix), &seqs, &after_us, &refused),
        };
        prop_assert_eq!(written.bytes().len() % 16, 0);
        let read = parsed(&[written.bytes(), &[7; 16]].concat()).unwrap();
        prop_assert!(read.bytes() == written.bytes() && read.are_sound());
        prop_assert!(read.refused().eq(refused.iter().copied()));
        prop_assert_eq!((read.rows(), read.id_prefix(), read.places_key()), (rows.len(), prefix, key));
        let last = after_us.iter().max().map(|us| Micros(at).plus_us(i64::from(*us)));
        prop_assert_eq!(Some(read.last_ingested_at()), last);
        let ids: BTreeSet<EventId> = (0..rows.len()).map(|row| read.made_id(row)).collect();
        prop_assert_eq!(ids.len(), rows.len());
        for (row, (seq, after_us)) in seqs.into_iter().zip(after_us).enumerate() {
            let moment = Micros(at).plus_us(i64::from(after_us));
            prop_assert_eq!((read.seq(row), read.ingested_at(row)), (Seq(seq), moment));
            prop_assert_eq!(read.row_of_made_id(written.made_id(row)), Some(row));
        }
    }
}

const V1: &str = "500000000400000000e828a8ee60060001a207d9210070058000000904d00000\
                  0700000000000000010000000000000008000000000000000000000000010000\
                  00000000000000000100000001000000";
const V2: &str = "600000000400000000e828a8ee60060001a207d9210070058000000904d00000\
                  0700000000000000010000000000000008000000000000000000000000010000\
                  0000000000000000010000000100000002000000020000000900000000000000";
const V3: &str = "600000000400008000e828a8ee60060001a207d9210070058000000904d00000\
                  0700000000000000010000000000000008000000000000000000000000010000\
                  00000000000000000100000000000000efcdab89674523010100000000000000";
const V3_REFUSED: &str = "700000000400008000e828a8ee60060001a207d9210070058000000904d00000\
                          0700000000000000010000000000000008000000000000000000000000010000\
                          00000000000000000100000000000000efcdab89674523010100000000000000\
                          02000000020000000900000000000000";
