//! What a log does when nothing goes wrong.

use super::*;

#[test]
fn a_log_is_born_with_the_frames_of_a_group_of_one() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let pushed = rig.push(&mut writer, b"one");
    assert_eq!(pushed.index, LogIndex(2));
    rig.commit(&mut writer);
    let view = writer.view().load();
    let kinds: Vec<_> = view
        .frames(LogIndex::ZERO, LogIndex(9))
        .unwrap()
        .map(|f| f.map(|f| (f.header.kind, f.header.index.0)).unwrap())
        .collect();
    assert_eq!(kinds, [(FrameKind::Membership, 0), (FrameKind::Blank, 1), (FrameKind::Entry, 2)]);
    let state = rig.open().recovered.state.unwrap();
    assert_eq!(state.vote, Vote { leader: LeaderId { term: 1, node: 1 }, committed: true });
    assert_eq!((state.membership, state.membership_id.index), (Membership::one(1), LogIndex(0)));
    assert_eq!(view.frame(pushed.loc).unwrap().payload[..], *b"one");
}

#[test]
fn entries_read_back_over_groups_segments_and_restarts() {
    let mut rig = Rig::new(small_config());
    let mut wanted = Vec::new();
    for round in 0..4u32 {
        let mut writer = rig.writer();
        for i in 0..200u32 {
            let bytes = vec![i as u8; (i * 37 % 1500) as usize];
            wanted.push((rig.push(&mut writer, &bytes).index, bytes));
            if i % 7 == round {
                assert!(rig.commit(&mut writer));
                rig.io.background(100);
            }
        }
        rig.commit(&mut writer);
        rig.io.background(1000);
        assert!(entries(&writer.view()) == wanted);
        assert!(entries(&rig.open().view) == wanted);
    }
    assert_eq!(rig.disk.violations(), [""; 0]);
    let view = rig.open().view.load();
    let infos = view.segments();
    assert!(infos.len() > 4 && infos.iter().all(|s| s.bytes <= 64 << 10));
    for from in [2, 3, 100, 555, 799] {
        let first = view.frames(LogIndex(from), LogIndex(from)).unwrap().next().unwrap().unwrap();
        assert_eq!(first.header.index, LogIndex(from));
        assert!(first.payload.is_aligned());
    }
}

#[test]
fn nothing_is_seen_before_it_is_committed() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"x");
    assert_eq!(entries(&writer.view()), []);
    let group = writer.take_group().unwrap();
    rig.push(&mut writer, b"y");
    assert!(writer.take_group().is_none(), "one group is in flight");
    assert_eq!(entries(&writer.view()), []);
    writer_commit(&rig, &mut writer, group);
    assert_eq!(entries(&writer.view()).len(), 1);
    rig.commit(&mut writer);
    assert_eq!(entries(&writer.view()).len(), 2);
}

fn writer_commit(rig: &Rig, writer: &mut LogWriter, group: Group) {
    let back = Arc::new(Mutex::new(None));
    let cell = Arc::clone(&back);
    rig.io.submit(group, Box::new(move |done| *cell.lock() = Some(done)));
    let group = back.lock().take().unwrap().unwrap();
    writer.committed(group);
}

#[test]
fn an_entry_larger_than_a_segment_has_its_own() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let mut wanted = Vec::new();
    for size in [10, 200 << 10, 10, 90 << 10, 0] {
        let bytes = vec![9; size];
        wanted.push((rig.push(&mut writer, &bytes).index, bytes));
    }
    rig.commit(&mut writer);
    rig.io.background(1000);
    assert!(entries(&writer.view()) == wanted);
    assert!(entries(&rig.open().view) == wanted);
    let too_large = vec![0; frame::PAYLOAD_BYTES_MAX / 2 + 1];
    let entry = Entry { leader: LeaderId::default(), schema: 0, count: 0, parts: &[&too_large, &too_large] };
    assert!(matches!(writer.push(entry, rig.now), Err(PushError::TooLarge { .. })));
}

#[test]
fn time_rolls_over_with_the_finest_field() {
    let mut config = small_config();
    config.rollover = Rollover { size_bytes: None, by_time: true };
    let mut rig = Rig::new(config);
    let mut writer = rig.writer();
    for _ in 0..3 {
        rig.push(&mut writer, b"x");
        rig.commit(&mut writer);
        rig.now = rig.now.plus_us(3_600_000_000);
    }
    let names: Vec<_> = writer.view().load().segments().into_iter().map(|s| s.name).collect();
    let hours: Vec<_> = names.iter().map(|n| &n[16..18]).collect();
    assert_eq!(hours, ["12", "13", "14"], "{names:?}");
}

#[test]
fn another_rollover_holds_from_the_next_entry_on() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let mut wanted = Vec::new();
    let mut push = |rig: &mut Rig, writer: &mut LogWriter, count: usize| {
        for n in 0..count {
            let bytes = vec![n as u8; 10 << 10];
            wanted.push((rig.push(writer, &bytes).index, bytes));
            assert!(rig.commit(writer));
            rig.io.background(100);
        }
    };
    push(&mut rig, &mut writer, 4);
    assert_eq!(segment_paths(&rig.disk).len(), 1);
    writer.set_rollover(Rollover { size_bytes: Some(24 << 10), by_time: false });
    assert!(
        !writer.idle_mark(rig.now) || rig.commit(&mut writer),
        "what may follow the last entry stays where it was promised room"
    );
    push(&mut rig, &mut writer, 3);
    let lengths: Vec<u64> = writer.view().load().segments().iter().map(|s| s.bytes).collect();
    assert_eq!(lengths.len(), 4, "{lengths:?}");
    assert!(lengths[0] > 48 << 10 && lengths[1..].iter().all(|bytes| *bytes <= 24 << 10), "{lengths:?}");
    // the file that was made ahead is shorter than what goes into it now
    writer.set_rollover(Rollover { size_bytes: Some(256 << 10), by_time: false });
    push(&mut rig, &mut writer, 16);
    let lengths: Vec<u64> = writer.view().load().segments().iter().map(|s| s.bytes).collect();
    assert!(lengths.len() == 4 && lengths[3] > 192 << 10, "{lengths:?}");
    assert!(entries(&writer.view()) == wanted && entries(&rig.open().view) == wanted);
}

#[test]
fn sealed_segments_are_trimmed_when_durable_and_old() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let mut last = LogIndex::ZERO;
    for _ in 0..3 {
        last = rig.push(&mut writer, b"x").index;
        rig.commit(&mut writer);
        assert_eq!(writer.seal(), last);
    }
    rig.io.background(100);
    let later = rig.now.plus_us(1);
    assert_eq!(writer.trim(last, Micros(0), rig.now), 0, "too young");
    assert_eq!(writer.trim(LogIndex(1), later, rig.now), 0, "not durable");
    let pinned = writer.view().load();
    assert_eq!(writer.trim(last.prev(), later, rig.now), 2);
    rig.commit(&mut writer);
    rig.io.background(100);
    assert_eq!(segment_paths(&rig.disk).len(), 2, "one with an entry, and the open one");
    assert_eq!(entries(&writer.view()), [(last, b"x".to_vec())]);
    assert!(matches!(writer.view().load().frames(LogIndex(2), last), Err(ReadError::Trimmed { .. })));
    assert_eq!(pinned.frames(LogIndex(2), last).unwrap().map(Result::unwrap).count(), 3, "a pinned view reads on");
    drop(writer);
    let mut writer = rig.writer();
    assert_eq!(entries(&writer.view()), [(last, b"x".to_vec())]);
    assert_eq!(writer.state().purged.map(|id| id.index), Some(last.prev()));
    assert_eq!(writer.trim(last, later, rig.now), 2, "after a restart every segment is sealed");
    assert!(rig.commit(&mut writer));
    rig.io.background(100);
    let next = rig.push(&mut writer, b"y").index;
    rig.commit(&mut writer);
    assert_eq!(next, last.next());
    assert_eq!(entries(&rig.open().view), [(next, b"y".to_vec())]);
}

#[test]
fn marks_prove_the_last_group_and_the_clean_stop() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    rig.push(&mut writer, b"x");
    assert!(!writer.idle_mark(rig.now), "something is pending");
    rig.commit(&mut writer);
    assert!(writer.idle_mark(rig.now));
    rig.commit(&mut writer);
    assert!(!writer.idle_mark(rig.now), "proven already");
    assert!(!rig.open().recovered.clean_stop);
    assert!(writer.clean_stop(rig.now));
    rig.commit(&mut writer);
    let opened = rig.open();
    assert!(opened.recovered.clean_stop && opened.recovered.cut.is_none());
    assert_eq!(opened.recovered.last_index(), LogIndex(2));
}

#[test]
fn another_ones_log_is_refused() {
    let mut rig = Rig::new(small_config());
    drop(rig.writer());
    let result = open_log(OpenLog {
        disk: Arc::new(rig.disk.clone()),
        dir: dir(),
        config: rig.config.clone(),
        identity: LogIdentity { stream_type: "Call".into(), bucket: 0, node: 2 },
        birth: 1,
        founds: true,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: rig.now,
    });
    assert!(matches!(result, Err(OpenError::Identity { .. })));
}

#[test]
fn segments_that_are_durable_elsewhere_need_not_be_read_at_the_start() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    for _ in 0..300 {
        rig.push(&mut writer, &[7; 1000]);
        rig.commit(&mut writer);
    }
    let wanted = entries(&writer.view());
    let opened = open_log(OpenLog {
        disk: Arc::new(rig.disk.clone()),
        dir: dir(),
        config: rig.config.clone(),
        identity: LogIdentity { stream_type: "Call".into(), bucket: 0, node: 1 },
        birth: 1,
        founds: true,
        check_from: LogIndex(200),
        begin_above: LogIndex::ZERO,
        now: rig.now,
    })
    .unwrap();
    assert_eq!(opened.recovered.corrupt, []);
    assert!(entries(&opened.view) == wanted);
}

#[test]
fn a_dump_names_every_frame_and_every_bad_place() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    let first = rig.push(&mut writer, b"first").loc;
    rig.push(&mut writer, b"second");
    rig.commit(&mut writer);
    let path = segment_paths(&rig.disk).remove(0);
    let text = dump(&rig.disk, &path);
    for wanted in ["State", "Membership", "Vote", "Blank", "Entry", "end of frames"] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    rig.disk.flip(&path, first.offset + 20, 1);
    let text = dump(&rig.disk, &path);
    assert!(text.contains("BAD: header checksum differs") && text.matches("Entry").count() == 1, "{text}");
}

#[test]
fn a_log_that_ends_too_low_goes_on_above_and_keeps_what_it_has() {
    for (has, above) in [(3, 100), (0, 100)] {
        let mut rig = Rig::new(small_config());
        if has > 0 {
            let mut writer = rig.writer();
            for _ in 0..has {
                rig.push(&mut writer, b"old");
            }
            rig.commit(&mut writer);
        }
        let mut wanted: Vec<_> = (2..2 + has).map(|i| (LogIndex(i), b"old".to_vec())).collect();
        rig.begin_above = LogIndex(above);
        let mut writer = rig.writer();
        wanted.push((rig.push(&mut writer, b"new").index, b"new".to_vec()));
        assert!(wanted.last().unwrap().0 > LogIndex(above));
        rig.commit(&mut writer);
        assert_eq!(entries(&writer.view()), wanted);
        for begin_above in [above, 0] {
            rig.begin_above = LogIndex(begin_above);
            let mut writer = rig.writer();
            wanted.push((rig.push(&mut writer, b"newer").index, b"newer".to_vec()));
            rig.commit(&mut writer);
            assert_eq!(entries(&rig.open().view), wanted);
        }
        let view = rig.open().view.load();
        let between = view.frames(LogIndex(50), LogIndex(60));
        assert!(between.map_or(has == 0, |frames| frames.count() == 0), "positions given up hold nothing");
    }
}

#[test]
fn an_opened_log_says_how_much_its_segments_hold() {
    let mut rig = Rig::new(small_config());
    let mut writer = rig.writer();
    for i in 0..100u8 {
        rig.push(&mut writer, &[i; 1_500]);
        rig.commit(&mut writer);
    }
    let view = rig.open().view.load();
    let (held, segments) = (view.opened_with(), view.segments());
    assert!(held.len() > 2, "{held:?}");
    assert!(held.iter().map(|held| (held.number, held.bytes)).eq(segments.iter().map(|s| (s.number, s.bytes))));
    assert!(held.iter().all(|held| held.entry_bytes.is_multiple_of(1_500) && held.entry_bytes > 0), "{held:?}");
    assert_eq!(held.iter().map(|held| held.entry_bytes).sum::<u64>(), 100 * 1_500);
    rig.check_from = segments[1].first_index;
    let above = rig.open().view.load().opened_with();
    assert_eq!((above[0].entry_bytes, above[1].entry_bytes), (0, held[1].entry_bytes), "what is below is not read");
}

#[test]
fn the_next_segment_of_a_busy_log_is_filled_beside_its_commits_and_begins_full() {
    let mut config = small_config();
    config.rollover.size_bytes = Some(4 << 20);
    let mut rig = Rig::new(config);
    let mut writer = rig.writer();
    let files = Arc::clone(&writer.start.files);
    let zeros = crate::buffer::AlignedBuf::zeroed(crate::files::FILL_STEP_BYTES);
    assert!(!files.wants_fill(), "nothing was appended yet");
    let (mut wanted, mut steps) = (Vec::new(), 0);
    for round in 0..2 {
        let segments = writer.view().load().segments().len();
        while writer.view().load().segments().len() == segments {
            let bytes = vec![7; 20_000];
            wanted.push((rig.push(&mut writer, &bytes).index, bytes));
            assert!(rig.commit(&mut writer));
            // as the thread of the disk does it, behind each group
            rig.io.background(4);
            if files.wants_fill() {
                assert!(!files.wants_fill(), "once at a time");
                files.fill_ahead(&zeros).unwrap();
                steps += 1;
            }
        }
        let filled = files.space.get().filled;
        assert!(filled >= 4 << 20, "segment {round} begins with {filled} bytes that have blocks");
    }
    assert!((2..=3).contains(&steps), "{steps} times for two segments, and maybe one that comes behind them");
    assert_eq!(rig.disk.violations(), [""; 0]);
    assert!(entries(&writer.view()) == wanted);
    assert!(entries(&rig.open().view) == wanted);
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
}
