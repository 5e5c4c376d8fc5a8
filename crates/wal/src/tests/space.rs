//! A full disk: refused before anything is accepted, readable all the time, and it goes on when there is room.

use super::*;

const LOW_WATER: u64 = 64 << 10;

fn tight(capacity: u64) -> Rig {
    let mut config = small_config();
    config.low_water_bytes = LOW_WATER;
    let rig = Rig::new(config);
    rig.disk.set_capacity(Some(capacity));
    rig
}

#[test]
fn a_full_disk_refuses_stays_readable_and_recovers() {
    let mut rig = tight(512 << 10);
    let mut writer = rig.writer();
    let mut wanted = Vec::new();
    let bytes = [5; 3000];
    while writer.room(bytes.len()) == Room::Fits {
        wanted.push((rig.push(&mut writer, &bytes).index, bytes.to_vec()));
        assert!(rig.commit(&mut writer), "what was accepted did not fail");
        rig.io.background(2);
        assert!(wanted.len() < 1000);
    }
    assert!(wanted.len() > 60, "most of the disk was used: {}", wanted.len());
    assert!(entries(&writer.view()) == wanted);
    rig.disk.set_capacity(Some(1 << 20));
    assert_eq!(writer.room(bytes.len()), Room::Fits);
    wanted.push((rig.push(&mut writer, &bytes).index, bytes.to_vec()));
    assert!(rig.commit(&mut writer));
    assert!(entries(&rig.open().view) == wanted);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}

#[test]
fn trimming_makes_room() {
    let mut rig = tight(512 << 10);
    let mut writer = rig.writer();
    while writer.room(3000) == Room::Fits {
        rig.push(&mut writer, &[5; 3000]);
        rig.commit(&mut writer);
        rig.io.background(2);
    }
    let through = writer.last_pushed();
    assert!(writer.trim(through, rig.now.plus_us(1), rig.now) > 3);
    rig.commit(&mut writer);
    rig.io.background(100);
    assert_eq!(writer.room(3000), Room::Fits);
}

#[test]
fn a_group_that_finds_the_disk_full_waits_and_is_written() {
    let mut rig = tight(1 << 20);
    let mut writer = rig.writer();
    rig.push(&mut writer, &[1; 40 << 10]);
    rig.disk.set_capacity(Some(0));
    let group = writer.take_group().unwrap();
    let back = Arc::new(Mutex::new(None));
    let cell = Arc::clone(&back);
    rig.io.submit(group, Box::new(move |done| *cell.lock() = Some(done)));
    assert!(back.lock().is_none());
    assert_eq!(rig.io.retry_stalled(), 1);
    rig.disk.set_capacity(None);
    assert_eq!(rig.io.retry_stalled(), 0);
    let group = back.lock().take().unwrap().unwrap();
    writer.committed(group);
    assert_eq!(entries(&rig.open().view).len(), 1);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}
