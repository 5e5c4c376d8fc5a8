//! The real disk and the real thread.

use super::*;
use std::sync::mpsc::channel;

fn open_at(path: &Path, config: &LogConfig) -> OpenedLog {
    open_log(OpenLog {
        disk: Arc::new(RealDisk::new()),
        dir: path.join(log_folder_name("Call", 0)),
        config: config.clone(),
        identity: LogIdentity { stream_type: "Call".into(), bucket: 0, node: 1 },
        birth: 42,
        founds: true,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: Micros(1_795_435_200_000_000),
    })
    .unwrap()
}

#[test]
fn entries_survive_the_thread_and_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small_config();
    config.rollover.size_bytes = Some(1 << 20);
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    let mut wanted = Vec::new();
    for round in 0..3u8 {
        let opened = open_at(folder.path(), &config);
        assert_eq!(opened.recovered.corrupt, []);
        let mut writer = opened.writer.unwrap();
        let (sender, receiver) = channel();
        for i in 0..2000u32 {
            let bytes = vec![round; (i % 2000) as usize];
            let leader = writer.state().vote.leader;
            let entry = Entry { leader, schema: 1, count: 1, parts: &[&bytes] };
            wanted.push((writer.push(entry, Micros(i64::from(i))).unwrap().index, bytes));
            if let Ok(done) = receiver.try_recv() {
                writer.committed(done);
            }
            if let Some(group) = writer.take_group() {
                let sender = sender.clone();
                io.submit(group, Box::new(move |done| sender.send(done.unwrap()).unwrap()));
            }
        }
        writer.clean_stop(Micros(0));
        while writer.is_in_flight() || writer.has_pending() {
            if let Some(group) = writer.take_group() {
                let sender = sender.clone();
                io.submit(group, Box::new(move |done| sender.send(done.unwrap()).unwrap()));
            }
            writer.committed(receiver.recv().unwrap());
        }
        assert!(entries(&writer.view()) == wanted);
    }
    drop(io);
    let opened = open_at(folder.path(), &config);
    assert!(entries(&opened.view) == wanted);
    assert!(opened.view.load().segments().len() > 3);
}

#[test]
fn segments_that_are_read_elsewhere_are_mapped_no_longer_and_can_still_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small_config();
    config.rollover.size_bytes = Some(1 << 20);
    let io = InlineIo::new(io::abort_on_fatal());
    let mut writer = open_at(folder.path(), &config).writer.unwrap();
    for i in 0..3000u32 {
        let bytes = vec![7; (i % 2000) as usize];
        let leader = writer.state().vote.leader;
        writer.push(Entry { leader, schema: 1, count: 1, parts: &[&bytes] }, Micros(i64::from(i))).unwrap();
        let (sender, receiver) = channel();
        let group = writer.take_group().unwrap();
        io.submit(group, Box::new(move |done| sender.send(done.unwrap()).unwrap()));
        writer.committed(receiver.recv().unwrap());
        // seals what has ended
        io.background(4);
    }
    let (shared, all) = (writer.view(), entries(&writer.view()));
    let view = shared.load();
    let mapped = view.mapped_bytes();
    assert!(mapped > 0, "reading maps what is sealed");
    let second = view.segments().get(1).unwrap().last_index.unwrap();
    view.unmap_through(LogIndex(second.0 - 1));
    let first_bytes = view.segments()[0].bytes;
    assert_eq!(view.mapped_bytes(), mapped - first_bytes, "a segment that goes on above the entry stays");
    view.unmap_through(second);
    assert_eq!(view.mapped_bytes(), mapped - first_bytes - view.segments()[1].bytes);
    assert!(entries(&shared) == all, "what is asked for again is mapped again");
    assert_eq!(view.mapped_bytes(), mapped);
}
