//! What outputs promise, on real files.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use tempfile::TempDir;

use super::gather::GATHERED;
use super::*;

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(super) fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("the folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Bytes that differ from one offset to the next, without a period that divides a buffer.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "the remainder fits")]
    (0..len)
        .map(|index| ((index * 7 + index / 251) % 256) as u8 | 1)
        .collect()
}

fn open<'a>(path: &Path, overwrite: bool, cancel: &'a Cancel) -> Result<Box<dyn Sink + 'a>, SinkError> {
    Destination::file(path, overwrite, None)?.open(None, Control::new(cancel, &()))
}

#[test]
fn writes_of_every_size_arrive_in_order() {
    let folder = folder();
    let path = folder.path().join("out");
    let cancel = Cancel::new();
    let bytes = pattern(9 << 20);
    let mut sink = open(&path, false, &cancel).expect("a new file");
    let mut rest = bytes.as_slice();
    for size in [0, 1, 5, GATHERED - 6, 1, GATHERED, 3, 2 * GATHERED, 100, 5 << 20]
        .into_iter()
        .cycle()
    {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        sink.write_all(chunk).expect("room");
        rest = after;
        assert_eq!(sink.position(), (bytes.len() - rest.len()) as u64);
        if rest.is_empty() {
            break;
        }
    }
    sink.finish().expect("a complete file");
    assert!(fs::read(&path).expect("the file") == bytes);
    assert_eq!(names(&folder), ["out"]);
}

#[test]
fn an_existing_file_stays_unless_it_may_be_replaced() {
    let folder = folder();
    let path = folder.path().join("out");
    fs::write(&path, "old").expect("a file");
    let cancel = Cancel::new();

    let error = Destination::file(&path, false, None).expect_err("it exists");
    assert!(
        error.to_string().ends_with("out exists; use -o to replace it"),
        "{error}"
    );

    let mut sink = open(&path, true, &cancel).expect("it may be replaced");
    sink.write_all(b"new").expect("room");
    assert_eq!(fs::read(&path).expect("the file"), b"old", "not before it is complete");
    sink.finish().expect("a complete file");
    assert_eq!(fs::read(&path).expect("the file"), b"new");
    assert_eq!(names(&folder), ["out"]);
}

#[test]
fn a_file_that_came_into_being_meanwhile_is_not_replaced() {
    let folder = folder();
    let path = folder.path().join("out");
    let cancel = Cancel::new();
    let mut sink = open(&path, false, &cancel).expect("a new file");
    sink.write_all(b"mine").expect("room");
    fs::write(&path, "theirs").expect("a file");
    assert!(matches!(sink.finish(), Err(SinkError::Exists { .. })));
    assert_eq!(fs::read(&path).expect("the file"), b"theirs");
    assert_eq!(names(&folder), ["out"]);
}

#[test]
fn the_source_is_never_replaced() {
    let folder = folder();
    let path = folder.path().join("source");
    fs::write(&path, "precious").expect("a file");
    let source = File::open(&path).expect("the file");
    let other_name = folder.path().join("link");
    fs::hard_link(&path, &other_name).expect("a second name");
    for name in [&path, &other_name] {
        for overwrite in [false, true] {
            let error = Destination::file(name, overwrite, Some(&source)).expect_err("the same file");
            assert!(matches!(error, SinkError::IsSource { .. }), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_a_file_is_told_before_any_work() {
    let folder = folder();
    let refused = |path: &Path| Destination::file(path, true, None).expect_err("no file");
    assert!(matches!(refused(folder.path()), SinkError::IsFolder { .. }));
    assert!(matches!(
        refused(&folder.path().join("new/")),
        SinkError::IsFolder { .. }
    ));
    assert!(matches!(
        refused(&folder.path().join("missing").join("out")),
        SinkError::NoFolder { .. }
    ));
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_cancelled_or_dropped_sink_leaves_nothing() {
    let folder = folder();
    let path = folder.path().join("out");
    let source_path = folder.path().join("source");
    fs::write(&source_path, pattern(1 << 20)).expect("a file");
    let source = File::open(&source_path).expect("the file");

    type Work = fn(&mut dyn Sink, &File) -> Result<(), SinkError>;
    let works: [Work; 4] = [
        |sink, _| sink.write_all(&pattern(1 << 20)),
        |sink, source| sink.copy_from(source, 0, 1 << 20),
        |sink, source| sink.copy_from(source, 1, (1 << 20) - 1),
        |sink, _| sink.hole(1 << 20),
    ];
    for work in works {
        let cancel = Cancel::new();
        let mut sink = open(&path, false, &cancel).expect("a new file");
        sink.write_all(b"begun").expect("room");
        assert_eq!(names(&folder).len(), 2, "the source and a temporary file");
        cancel.cancel();
        assert!(matches!(work(&mut *sink, &source), Err(SinkError::Cancelled)));
        drop(sink);
        assert_eq!(names(&folder), ["source"]);
    }

    let cancel = Cancel::new();
    let mut sink = open(&path, false, &cancel).expect("a new file");
    sink.write_all(b"all of it").expect("room");
    cancel.cancel();
    assert!(matches!(sink.finish(), Err(SinkError::Cancelled)));
    assert_eq!(names(&folder), ["source"]);
}

#[test]
fn holes_read_as_zeros() {
    let folder = folder();
    let path = folder.path().join("out");
    let cancel = Cancel::new();
    let mut sink = open(&path, false, &cancel).expect("a new file");
    let mut expected = Vec::new();
    for hole in [0, 1, 4095, 4096, 100_000, 1 << 20] {
        sink.write_all(b"data").expect("room");
        sink.hole(hole).expect("room");
        expected.extend(b"data");
        expected.resize(expected.len() + usize::try_from(hole).expect("small"), 0);
    }
    assert_eq!(sink.position(), expected.len() as u64);
    sink.finish().expect("a complete file");
    assert!(fs::read(&path).expect("the file") == expected);
}

#[test]
fn copies_are_equal_wherever_they_start_and_end() {
    let folder = folder();
    let bytes = pattern(3 << 20);
    let source_path = folder.path().join("source");
    fs::write(&source_path, &bytes).expect("a file");
    let source = File::open(&source_path).expect("the file");
    for (index, (prefix, offset, len)) in [
        (0, 0, 3 << 20),
        (0, 4096, 2 << 20),
        (100, 100, 2 << 20),
        (100, 101, 2 << 20),
        (0, 1, 64 << 10),
        (7, 4095, 65_537),
        (7, 12_345, (64 << 10) - 1),
        (4096, 8192 + 17, 1_000_003),
        (0, 3 << 20, 0),
    ]
    .into_iter()
    .enumerate()
    {
        for stream in [false, true] {
            let path = folder.path().join(format!("out-{index}-{stream}"));
            let cancel = Cancel::new();
            let mut sink: Box<dyn Sink> = if stream {
                let file = File::create(&path).expect("a file");
                Box::new(StreamSink::new(file, "stream", None, Control::new(&cancel, &())))
            } else {
                open(&path, false, &cancel).expect("a new file")
            };
            sink.write_all(&vec![9; prefix]).expect("room");
            sink.copy_from(&source, offset as u64, len as u64)
                .expect("the source has it");
            sink.write_all(b"after").expect("room");
            sink.finish().expect("a complete file");
            let expected = [&vec![9; prefix], &bytes[offset..offset + len], b"after"].concat();
            assert!(
                fs::read(&path).expect("the file") == expected,
                "{prefix} {offset} {len} {stream}"
            );
        }
    }
}

#[test]
fn copies_reach_beyond_4_gib_and_keep_holes() {
    const FAR: u64 = (5 << 30) + 4096;
    let folder = folder();
    let bytes = pattern(300_000);
    let source_path = folder.path().join("source");
    let mut source = File::create_new(&source_path).expect("a file");
    source
        .seek(SeekFrom::Start(FAR))
        .and_then(|_| source.write_all(&bytes))
        .expect("a sparse file");
    source.set_len(FAR + (1 << 30)).expect("a sparse file");
    let source = File::open(&source_path).expect("the file");

    let path = folder.path().join("out");
    let cancel = Cancel::new();
    let mut sink = open(&path, false, &cancel).expect("a new file");
    sink.write_all(b"head").expect("room");
    let len = if cfg!(target_os = "linux") { FAR + (1 << 30) } else { 0 };
    sink.copy_from(&source, 0, len).expect("the source has it");
    sink.copy_from(&source, FAR + 5, 200_000).expect("the source has it");
    sink.finish().expect("a complete file");

    let mut copied = File::open(&path).expect("the file");
    assert_eq!(copied.metadata().expect("the file").len(), 4 + len + 200_000);
    let mut check = |offset, expected: &[u8]| {
        let mut read = vec![1; expected.len()];
        copied
            .seek(SeekFrom::Start(offset))
            .and_then(|_| copied.read_exact(&mut read))
            .expect("bytes");
        assert!(read == expected, "at {offset:#x}");
    };
    check(4 + len, &bytes[5..200_005]);
    if len > 0 {
        check(0, b"head");
        check(4 + FAR - 10, &[0; 10]);
        check(4 + FAR, &bytes);
        check(4 + FAR + 300_000, &[0; 10]);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let blocks = fs::metadata(&path).expect("the file").blocks();
        assert!(blocks * 512 < 16 << 20, "{blocks} blocks: holes were filled");
    }
}

#[test]
fn a_source_that_is_too_short_is_told_with_the_place() {
    let folder = folder();
    let source_path = folder.path().join("source");
    fs::write(&source_path, pattern(100_000)).expect("a file");
    let source = File::open(&source_path).expect("the file");
    let path = folder.path().join("out");
    for (offset, len, end, lacking) in [
        (0, 100_001, 100_000, 1),
        (99_990, 20, 100_000, 10),
        (90_000, 80_000, 100_000, 70_000),
    ] {
        let cancel = Cancel::new();
        let mut sink = open(&path, false, &cancel).expect("a new file");
        match sink.copy_from(&source, offset, len) {
            Err(SinkError::SourceEnds { offset, missing }) => assert_eq!((offset, missing), (end, lacking)),
            other => panic!("{other:?}"),
        }
        drop(sink);
        assert_eq!(names(&folder), ["source"]);
    }
}

#[test]
fn progress_hears_of_every_byte_once() {
    #[derive(Default)]
    struct Count {
        total: Cell<u64>,
        done: Cell<u64>,
    }
    impl Progress for Count {
        fn total(&self, bytes: u64) {
            self.total.set(bytes);
        }

        fn advance(&self, bytes: u64) {
            self.done.set(self.done.get() + bytes);
        }
    }
    let folder = folder();
    let source_path = folder.path().join("source");
    fs::write(&source_path, pattern(500_000)).expect("a file");
    let source = File::open(&source_path).expect("the file");
    let (cancel, count) = (Cancel::new(), Count::default());
    let control = Control::new(&cancel, &count);
    let destination = Destination::file(&folder.path().join("out"), false, None).expect("a new file");
    let mut sink = destination.open(Some(510_010), control).expect("a new file");
    sink.write_all(&[1; 10]).expect("room");
    sink.hole(10_000).expect("room");
    sink.copy_from(&source, 0, 500_000).expect("the source has it");
    sink.finish().expect("a complete file");
    assert_eq!((count.total.get(), count.done.get()), (510_010, 510_010));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_the_owner_may_read_a_dump() {
        let folder = folder();
        let path = folder.path().join("out");
        let cancel = Cancel::new();
        let sink = open(&path, false, &cancel).expect("a new file");
        let temporary = folder.path().join(&names(&folder)[0]);
        assert_eq!(
            fs::metadata(temporary).expect("the file").permissions().mode() & 0o777,
            0o600
        );
        sink.finish().expect("a complete file");
        assert_eq!(
            fs::metadata(&path).expect("the file").permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = folder();
        let (path, link, dangling) = (
            folder.path().join("out"),
            folder.path().join("link"),
            folder.path().join("dangling"),
        );
        fs::write(&path, "old").expect("a file");
        symlink("out", &link).expect("a link");
        symlink("nowhere", &dangling).expect("a link");
        for name in [&link, &dangling] {
            assert!(matches!(
                Destination::file(name, false, None),
                Err(SinkError::Exists { .. })
            ));
        }
        let cancel = Cancel::new();
        open(&link, true, &cancel)
            .expect("it may be replaced")
            .finish()
            .expect("a complete file");
        assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
        assert_eq!(fs::read(&path).expect("the file"), b"");
    }

    #[test]
    fn devices_are_written_to_and_a_full_disk_is_told() {
        let cancel = Cancel::new();
        for overwrite in [false, true] {
            let mut sink = open(Path::new("/dev/null"), overwrite, &cancel).expect("a device");
            sink.write_all(&pattern(GATHERED)).expect("it takes all");
            sink.finish().expect("a complete output");
        }
        if Path::new("/dev/full").exists() {
            let destination = Destination::file(Path::new("/dev/full"), false, None).expect("a device");
            assert!(!destination.is_file());
            let mut sink = destination.open(Some(5), Control::new(&cancel, &())).expect("a device");
            sink.write_all(b"12345").expect("it is only gathered");
            let error = sink.finish().expect_err("it takes nothing");
            let text = "no space left for /dev/full: it ended after 0 bytes, 5 bytes are needed";
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_folder_that_takes_no_file_is_told() {
        let cancel = Cancel::new();
        let error = open(Path::new("/proc/out"), false, &cancel)
            .err()
            .expect("no file can be made there");
        assert!(matches!(error, SinkError::Create { .. }), "{error}");
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_signal() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let cancel = Cancel::new();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut sink = Box::new(StreamSink::new(
            file,
            "standard output",
            None,
            Control::new(&cancel, &()),
        ));
        sink.write_all(b"text").expect("it is only gathered");
        assert!(matches!(sink.finish(), Err(SinkError::Write { .. })));
    }
}
