//! An output that is held in memory as long as it is small.

use std::fs::File;
use std::io;

use super::{Sink, SinkError};

/// What opens the output.
type Open<'a> = Box<dyn FnOnce() -> Result<Box<dyn Sink + 'a>, SinkError> + 'a>;

/// How much room is made for bytes at a time: what is held is never moved to make more.
const BLOCK: usize = 256 << 10;

/// Holds what is written in memory, and only opens the output when there is more than fits or when it is finished: a live
/// process need not wait for a disk. From then on everything goes straight through.
///
/// ```
/// use dotdump_transcode::sink::{Cancel, Control, Destination, Held, Sink};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("out.dmp");
/// let cancel = Cancel::new();
/// let destination = Destination::file(&path, false, None)?;
/// let mut held: Box<dyn Sink> = Box::new(Held::new(12 << 20, || {
///     destination.open(None, Control::new(&cancel, &()))
/// }));
/// held.write_all(b"MDMP")?;
/// // A process that was stopped for this can run on now: nothing was written so far.
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
/// held.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"MDMP");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Held<'a> {
    limit: usize,
    state: State<'a>,
}

enum State<'a> {
    Held {
        open: Open<'a>,
        parts: Parts,
    },
    Open(Box<dyn Sink + 'a>),
    /// It could not be opened, or does not take what was held.
    Failed,
}

/// What is held.
#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    /// What they take in memory.
    room: usize,
    /// How many bytes of the output they are.
    size: u64,
}

enum Part {
    Bytes(Vec<u8>),
    Hole(u64),
}

impl Parts {
    /// Takes bytes in; what does not fit into `limit` bytes of memory comes back.
    fn take<'b>(&mut self, mut bytes: &'b [u8], limit: usize) -> &'b [u8] {
        while !bytes.is_empty() {
            let room = match self.list.last_mut() {
                Some(Part::Bytes(held)) if held.len() < held.capacity() => {
                    let room = held.capacity() - held.len();
                    let (now, later) = bytes.split_at(bytes.len().min(room));
                    held.extend_from_slice(now);
                    self.size += now.len() as u64;
                    bytes = later;
                    continue;
                }
                _ => BLOCK.min(limit.saturating_sub(self.room + size_of::<Part>())),
            };
            if room == 0 {
                break;
            }
            self.push(Part::Bytes(Vec::with_capacity(room)), room);
        }
        bytes
    }

    /// Takes zeros in; tells whether there is room to note them.
    fn take_hole(&mut self, len: u64, limit: usize) -> bool {
        if let Some(Part::Hole(held)) = self.list.last_mut() {
            *held += len;
        } else {
            if self.room + size_of::<Part>() > limit {
                return false;
            }
            // The block before it gets no more: its room goes back.
            if let Some(Part::Bytes(held)) = self.list.last_mut() {
                self.room -= held.capacity() - held.len();
                held.shrink_to_fit();
            }
            self.push(Part::Hole(len), 0);
        }
        self.size += len;
        true
    }

    fn push(&mut self, part: Part, room: usize) {
        self.room += room + size_of::<Part>();
        self.list.push(part);
    }

    /// Writes them, and lets go of each as soon as it is written.
    fn write(self, sink: &mut dyn Sink) -> Result<(), SinkError> {
        for part in self.list {
            match part {
                Part::Bytes(bytes) => sink.write_all(&bytes)?,
                Part::Hole(len) => sink.hole(len)?,
            }
        }
        Ok(())
    }
}

impl<'a> Held<'a> {
    /// An output that holds up to `limit` bytes of memory before it calls `open`. Holes take next to none.
    pub fn new(limit: usize, open: impl FnOnce() -> Result<Box<dyn Sink + 'a>, SinkError> + 'a) -> Self {
        let (open, parts) = (Box::new(open), Parts::default());
        Self {
            limit,
            state: State::Held { open, parts },
        }
    }

    /// Whether the output was opened, because there was more than fits.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The output, opened if it was not yet, and with all that was held written.
    fn inner(&mut self) -> Result<&mut (dyn Sink + 'a), SinkError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Held { open, parts } => {
                let mut inner = open()?;
                parts.write(&mut *inner)?;
                State::Open(inner)
            }
            other => other,
        };
        match &mut self.state {
            State::Open(inner) => Ok(&mut **inner),
            _ => Err(failed()),
        }
    }
}

/// After an error nothing more is written.
fn failed() -> SinkError {
    SinkError::Write {
        name: "the output".to_owned(),
        offset: 0,
        source: io::Error::other("it failed before"),
    }
}

impl Sink for Held<'_> {
    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), SinkError> {
        if let State::Held { parts, .. } = &mut self.state {
            bytes = parts.take(bytes, self.limit);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.inner()?.write_all(bytes)
    }

    fn copy_from(&mut self, source: &File, offset: u64, len: u64) -> Result<(), SinkError> {
        // Nothing waits for a source that is a file.
        self.inner()?.copy_from(source, offset, len)
    }

    fn hole(&mut self, len: u64) -> Result<(), SinkError> {
        /// Holes up to this long are held as zeros: noting them takes room as well.
        const ZEROS: [u8; 256] = [0; 256];

        if let State::Held { parts, .. } = &mut self.state {
            match usize::try_from(len).ok().and_then(|len| ZEROS.get(..len)) {
                Some(zeros) => return self.write_all(zeros),
                None if parts.take_hole(len, self.limit) => return Ok(()),
                None => {}
            }
        }
        self.inner()?.hole(len)
    }

    fn position(&self) -> u64 {
        match &self.state {
            State::Held { parts, .. } => parts.size,
            State::Open(inner) => inner.position(),
            State::Failed => 0,
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.inner()?;
        match self.state {
            State::Open(inner) => inner.finish(),
            _ => Err(failed()),
        }
    }
}
