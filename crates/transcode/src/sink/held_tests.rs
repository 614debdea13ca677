//! What is held, and when it is written.

use std::cell::RefCell;
use std::fs;

use proptest::prelude::*;

use super::tests::{folder, names, pattern};
use super::*;

/// An output in memory that takes no more than it has room for. It notes each call that it gets.
#[derive(Default)]
struct Small {
    room: u64,
    calls: RefCell<Vec<(char, u64)>>,
    bytes: RefCell<Vec<u8>>,
    is_finished: RefCell<bool>,
}

struct Opened<'a>(&'a Small);

impl Small {
    fn of(room: u64) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink + '_>, SinkError> {
        Ok(Box::new(Opened(self)))
    }
}

impl Opened<'_> {
    fn took(&self, kind: char, bytes: &[u8], len: u64) -> Result<(), SinkError> {
        if self.position() + len > self.0.room {
            return Err(SinkError::DiskFull {
                name: "small".to_owned(),
                written: self.position(),
                size: None,
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        self.0.calls.borrow_mut().push((kind, len));
        let mut all = self.0.bytes.borrow_mut();
        let end = all.len() + usize::try_from(len).expect("small");
        all.extend(bytes);
        all.resize(end, 0);
        Ok(())
    }
}

impl Sink for Opened<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.took('b', bytes, bytes.len() as u64)
    }

    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        let mut bytes = vec![0; usize::try_from(len).expect("small")];
        platform::read_at(source, &mut bytes, offset).map_err(|source| SinkError::Read { offset, source })?;
        self.took('c', &bytes, len)
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        self.took('h', &[], len)
    }

    fn position(&self) -> u64 {
        self.0.bytes.borrow().len() as u64
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        *self.0.is_finished.borrow_mut() = true;
        Ok(())
    }
}

#[test]
fn what_is_small_is_written_at_the_end_and_holes_stay_holes() {
    let small = Small::of(u64::MAX);
    let mut held = Box::new(Held::new(1 << 20, || small.open()));
    held.write_all(&pattern(1000)).expect("room");
    held.hole(8 << 20).expect("room");
    held.hole(8 << 20).expect("room");
    held.write_all(b"end").expect("room");
    assert_eq!(held.position(), 1003 + (16 << 20));
    assert!(!held.is_open() && small.calls.borrow().is_empty());
    held.finish().expect("it takes all");
    assert_eq!(*small.calls.borrow(), [('b', 1000), ('h', 16 << 20), ('b', 3)]);
    assert!(*small.is_finished.borrow());
}

#[test]
fn what_is_large_goes_straight_through() {
    let small = Small::of(u64::MAX);
    let bytes = pattern(3 << 20);
    let mut held = Box::new(Held::new(1 << 20, || small.open()));
    held.write_all(&bytes[..1 << 19]).expect("room");
    assert!(!held.is_open(), "there is room for half of it");
    held.write_all(&bytes[1 << 19..]).expect("room");
    assert!(held.is_open());
    assert_eq!(small.bytes.borrow().len(), bytes.len());
    held.finish().expect("it takes all");
    assert!(*small.bytes.borrow() == bytes);
}

#[test]
fn a_full_disk_is_told_when_it_is_reached() {
    let small = Small::of(1000);
    let mut held = Box::new(Held::new(1 << 20, || small.open()));
    held.write_all(&pattern(2000)).expect("it is only held");
    assert!(matches!(held.finish(), Err(SinkError::DiskFull { .. })));

    let small = Small::of(1 << 20);
    let mut held = Box::new(Held::new(4096, || small.open()));
    held.write_all(&pattern(1 << 20)).expect("room");
    assert!(matches!(held.write_all(b"one more"), Err(SinkError::DiskFull { .. })));
    assert!(!*small.is_finished.borrow());
}

#[test]
fn an_output_that_cannot_be_opened_stays_an_error() {
    let refuse = || {
        Err(SinkError::Create {
            path: "out".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        })
    };
    let mut held = Box::new(Held::new(100, refuse));
    held.write_all(&[1; 50]).expect("it is only held");
    assert!(matches!(held.write_all(&[1; 50]), Err(SinkError::Create { .. })));
    assert!(held.hole(1 << 20).is_err() && held.finish().is_err());
}

#[test]
fn a_dropped_output_leaves_nothing() {
    let folder = folder();
    let path = folder.path().join("out");
    let cancel = Cancel::new();
    for size in [10, 1 << 20] {
        let destination = Destination::file(&path, false, None).expect("a new file");
        let mut held = Held::new(4096, || destination.open(None, Control::new(&cancel, &())));
        held.write_all(&pattern(size)).expect("room");
        assert_eq!(
            names(&folder).len(),
            usize::from(held.is_open()),
            "a temporary file, or none"
        );
        drop(held);
        assert_eq!(names(&folder), [""; 0]);
    }
    let destination = Destination::file(&path, false, None).expect("a new file");
    let mut held = Box::new(Held::new(4096, || destination.open(None, Control::new(&cancel, &()))));
    held.write_all(b"all of it").expect("room");
    cancel.cancel();
    assert!(matches!(held.finish(), Err(SinkError::Cancelled)));
    assert_eq!(names(&folder), [""; 0]);
}

proptest! {
    /// The output has the same bytes with and without it, whatever fits.
    #[test]
    fn holding_changes_nothing(
        limit in 0_usize..3000,
        steps in prop::collection::vec((0_u8..3, prop_oneof![0_usize..300, 0_usize..2000]), 0..20),
    ) {
        let folder = folder();
        let source_path = folder.path().join("source");
        fs::write(&source_path, pattern(4000)).expect("a file");
        let source = File::open(&source_path).expect("the file");
        let (direct, small) = (Small::of(u64::MAX), Small::of(u64::MAX));
        let mut sink = direct.open().expect("memory");
        let mut held = Box::new(Held::new(limit, || small.open()));
        let mut written = 0;
        for (kind, size) in steps {
            let len = size as u64;
            for sink in [&mut *sink, &mut *held as &mut dyn Sink] {
                match kind {
                    0 => sink.write_all(&pattern(size)).expect("room"),
                    1 => sink.hole(len).expect("room"),
                    _ => sink.copy_from(&source, 7, len).expect("the source has it"),
                }
            }
            if kind == 0 {
                written += size;
            }
            prop_assert_eq!(held.position(), sink.position());
            prop_assert!(held.is_open() || written <= limit, "it holds more than it may");
        }
        held.finish().expect("it takes all");
        prop_assert!(*direct.bytes.borrow() == *small.bytes.borrow());
    }
}
