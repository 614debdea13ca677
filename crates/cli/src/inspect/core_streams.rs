//! The streams of a core, so that it is looked at as dumps are.

use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::{DirectoryEntry, Header, write_directory};
use dotdump_format::{Error, Findings, Record};
use dotdump_snapshot::{Content, ProcessSnapshot};

/// A minidump with the streams that a dump of `process` would have, but for threads, modules, memory and exception, which
/// the process shows itself.
///
/// # Errors
/// [`Error::TooLarge`] where they do not fit; [`Error::Read`] where the medium fails.
pub(super) fn streams(process: &dyn ProcessSnapshot) -> Result<Vec<u8>, Error> {
    let mut layout = Layout::new(process.endian());
    let types = process.stream_types();
    let header = layout.reserve(Header::SIZE);
    let directory = layout.reserve(types.len() * DirectoryEntry::SIZE);
    let mut entries = Vec::new();
    for stream_type in types {
        let Some(content) = process.stream(stream_type, &mut Findings::default())? else {
            continue;
        };
        layout.align(8);
        let location = match content {
            Content::Typed(value) => value.write(&mut layout)?,
            Content::Verbatim(blob) => {
                let bytes = process.bytes(&blob)?;
                let at = layout.push_bytes(&bytes);
                layout.location(at, bytes.len() as u64, "a stream")?
            }
        };
        entries.push(DirectoryEntry {
            stream_type: stream_type.0.into(),
            location,
        });
    }
    write_directory(&mut layout, header, directory, *process.header(), &entries)?;
    let mut file = Vec::new();
    for piece in layout.finish().pieces {
        match piece {
            Piece::Bytes(bytes) => file.extend(bytes),
            // Records of a core are bytes; there is nothing to copy or to read.
            other => file.resize(file.len() + usize::try_from(other.size()).unwrap_or(0), 0),
        }
    }
    Ok(file)
}
