//! Objects of many parts: how they are cut, what a fault makes of them, and that nothing of them stays.

use super::{moto, through};
use crate::rigs::{Act, Proxy};
use strandline_durable::SharedObjects;
use strandline_durable::objects::{ObjectError, Purpose, open_location};

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 3 % 253) as u8).collect()
}

/// Writes an object in pieces of one MiB.
fn write(objects: &SharedObjects, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    let mut out = objects.create(path)?;
    for piece in bytes.chunks(MIB) {
        out.write_all(piece).map_err(|e| ObjectError::from_io(path, e))?;
    }
    out.finish()
}

#[test]
fn small_objects_are_one_conditional_create_and_large_ones_equal_parts() {
    let proxy = Proxy::start(moto().port);
    let objects = through(&proxy, "parts");
    write(&objects, "small", &pattern(8 * MIB)).unwrap();
    let puts: Vec<_> = proxy.seen().into_iter().filter(|line| !line.starts_with("HEAD")).collect();
    assert!(puts.len() == 1 && puts[0].starts_with("PUT") && !puts[0].contains("partNumber"), "{puts:?}");
    let bytes = pattern(33 * MIB);
    write(&objects, "large", &bytes).unwrap();
    let parts = proxy.seen().iter().filter(|line| line.contains("partNumber")).count();
    assert_eq!(parts, 5, "four of 8 MiB and one of the rest");
    assert!(objects.get("large").unwrap()[..] == bytes[..]);
    assert!(matches!(objects.create("large").map(drop), Err(ObjectError::AlreadyExists { .. })));
    assert_eq!(moto().open_uploads(), 0);
}

#[test]
fn a_fault_in_an_upload_is_borne_or_leaves_nothing() {
    let proxy = Proxy::start(moto().port);
    let objects = through(&proxy, "faults");
    let bytes = pattern(17 * MIB);
    for (n, (method, part, times, act, fine)) in [
        ("PUT", "partNumber=2", 1, Act::Answer(503), true),
        ("PUT", "partNumber=1", 1, Act::LoseAnswer, true),
        ("POST", "uploads", 1, Act::Answer(500), true),
        ("POST", "uploadId", 1, Act::Answer(500), true),
        // it was completed, and the upload is not known any more when it is asked for again
        ("POST", "uploadId", 1, Act::ServeAndAnswer(500), true),
        ("POST", "uploadId", 1, Act::LoseAnswer, true),
        ("PUT", "partNumber=2", 99, Act::Answer(500), false),
        ("PUT", "partNumber=1", 1, Act::Answer(403), false),
        ("POST", "uploads", 1, Act::Answer(403), false),
        ("POST", "uploadId", 99, Act::Answer(500), false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("object-{n}");
        proxy.rule(method, part, 0, times, act);
        let written = write(&objects, &name, &bytes);
        proxy.clear();
        assert_eq!(written.is_ok(), fine, "{method} {part} {act:?}: {written:?}");
        assert_eq!(objects.exists(&name).unwrap(), fine, "{method} {part} {act:?}");
        assert!(!fine || objects.get(&name).unwrap()[..] == bytes[..]);
        assert_eq!(moto().open_uploads(), 0, "{method} {part} {act:?}: parts are taken away");
        if let Err(error) = written {
            assert!(super::check_text(&error).contains(&format!("s3://strandline-test/faults/{name}")), "{error}");
        }
    }
}

#[test]
fn a_small_object_whose_create_is_unclear_is_ours_or_another_s() {
    let proxy = Proxy::start(moto().port);
    let objects = through(&proxy, "unclear");
    for act in [Act::LoseAnswer, Act::ServeAndAnswer(500), Act::ServeAndAnswer(412), Act::Cut, Act::Answer(409)] {
        proxy.rule("PUT", "unclear/", 0, 1, act);
        let name = format!("{act:?}").replace(['(', ')'], "-");
        write(&objects, &name, b"mine").unwrap_or_else(|error| panic!("{act:?}: {error}"));
        assert_eq!(&objects.get(&name).unwrap()[..], b"mine");
    }
    // somebody else takes the name while ours is written
    let mut out = objects.create("taken").unwrap();
    out.write_all(b"mine").unwrap();
    objects.put_new("taken", b"another's").unwrap();
    assert!(matches!(out.finish(), Err(ObjectError::AlreadyExists { .. })));
    assert_eq!(&objects.get("taken").unwrap()[..], b"another's");
}

/// Resident memory of this process at its highest, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn a_large_object_is_written_in_bounded_memory() {
    let settings = super::settings_with(&moto().url(), &[("AWS_TIMEOUT", "120s")]);
    let objects = open_location(&super::location("bounded"), Purpose::Read, &settings).unwrap();
    let piece = pattern(MIB);
    write(&objects, "warm", &pattern(17 * MIB)).unwrap();
    let before = peak_bytes();
    let mut out = objects.create("large").unwrap();
    for _ in 0..192 {
        out.write_all(&piece).unwrap();
    }
    out.finish().unwrap();
    let grown = peak_bytes().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more for an object of 192", grown / MIB);
    assert_eq!(objects.open("large").unwrap().len(), 192 * MIB as u64);
    objects.delete("large").unwrap();
}
