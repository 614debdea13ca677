//! Streams of a dump and its source, compared by what they say and not by how they are laid out: both are laid out
//! anew in the same way, and then have to be equal byte for byte.

use dotdump_format::layout::{Layout, Piece, Plan};
use dotdump_format::minidump::{StreamType, WriteStream};
use dotdump_format::{Error, FileOffset, Findings, ReadAt};
use dotdump_snapshot::Content;

use super::Side;

/// How much is compared at a time.
const CHUNK: u64 = 256 << 10;

/// Compares one stream; tells what is different.
pub(super) fn compare(dump: Side<'_>, source: Side<'_>, stream_type: StreamType) -> Result<Option<String>, Error> {
    let mut scratch = Findings::default();
    let mine = match dump.stream(stream_type, &mut scratch) {
        Ok(Some(content)) => laid_out(dump, content)?,
        Ok(None) => return Ok(None),
        Err(Error::Malformed(finding)) => return Ok(Some(format!("cannot be read: {finding}"))),
        Err(error) => return Err(error),
    };
    let theirs = match source.stream(stream_type, &mut scratch) {
        Ok(Some(content)) => laid_out(source, content)?,
        Ok(None) => return Ok(Some("the source has no such stream".to_owned())),
        Err(Error::Malformed(finding)) => return Ok(Some(format!("cannot be read in the source: {finding}"))),
        Err(error) => return Err(error),
    };
    compare_plans((dump, &mine), (source, &theirs))
}

/// Compares two values of the same stream.
pub(super) fn compare_typed(
    (dump, mine): (Side<'_>, &dyn WriteStream),
    (source, theirs): (Side<'_>, &dyn WriteStream),
) -> Result<Option<String>, Error> {
    let lay_out = |snapshot: Side<'_>, value: &dyn WriteStream| {
        let mut layout = Layout::new(snapshot.endian());
        value.write(&mut layout).map(|_| layout.finish())
    };
    compare_plans((dump, &lay_out(dump, mine)?), (source, &lay_out(source, theirs)?))
}

fn laid_out(snapshot: Side<'_>, content: Content<'_>) -> Result<Plan, Error> {
    let mut layout = Layout::new(snapshot.endian());
    match content {
        Content::Typed(value) => {
            value.write(&mut layout)?;
        }
        Content::Verbatim(blob) => {
            layout.push(blob.to_piece());
        }
    }
    Ok(layout.finish())
}

fn compare_plans(
    (dump, mine): (Side<'_>, &Plan),
    (source, theirs): (Side<'_>, &Plan),
) -> Result<Option<String>, Error> {
    if mine.size != theirs.size {
        return Ok(Some(format!("{} bytes, {} in the source", mine.size, theirs.size)));
    }
    let (mut mine, mut theirs) = (Bytes::new(dump.file, mine), Bytes::new(source.file, theirs));
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut done = 0;
    loop {
        let Some(size) = mine.left_in_piece().min(theirs.left_in_piece()) else {
            return Ok(None);
        };
        let size = size.min(CHUNK);
        mine.take(size, &mut one)?;
        theirs.take(size, &mut two)?;
        if let Some(at) = super::first_difference(&one, &two, FileOffset(done)) {
            return Ok(Some(format!("differs from byte {at} of its contents on")));
        }
        done += size;
    }
}

/// The bytes of a plan in order.
struct Bytes<'a> {
    file: &'a dyn ReadAt,
    pieces: std::slice::Iter<'a, Piece>,
    piece: Option<&'a Piece>,
    taken: u64,
}

impl<'a> Bytes<'a> {
    fn new(file: &'a dyn ReadAt, plan: &'a Plan) -> Self {
        let mut pieces = plan.pieces.iter();
        Self {
            file,
            piece: pieces.next(),
            pieces,
            taken: 0,
        }
    }

    /// How many bytes the current piece still has; `None` at the end.
    fn left_in_piece(&mut self) -> Option<u64> {
        while let Some(piece) = self.piece {
            if self.taken < piece.size() {
                return Some(piece.size() - self.taken);
            }
            self.piece = self.pieces.next();
            self.taken = 0;
        }
        None
    }

    fn take(&mut self, size: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let length = usize::try_from(size).unwrap_or(0);
        buffer.clear();
        buffer.resize(length, 0);
        match self.piece {
            Some(Piece::Bytes(bytes)) => {
                let start = usize::try_from(self.taken).unwrap_or(usize::MAX);
                if let Some(part) = bytes.get(start..).and_then(|rest| rest.get(..length)) {
                    buffer.copy_from_slice(part);
                }
            }
            Some(Piece::CopyFrom { offset, .. }) => {
                let at = offset.saturating_add(self.taken);
                self.file.read_exact_at(at, buffer)?;
            }
            // Zeros; streams have no other pieces.
            _ => {}
        }
        self.taken += size;
        Ok(())
    }
}
