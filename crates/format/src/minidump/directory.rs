//! Opening a minidump: header, directory, and the streams that it lists.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;

use super::header::{Header, SIGNATURE, VERSION};
use super::string;
use super::{MiniDumpType, StreamType};
use crate::addr::{FileOffset, Rva};
use crate::error::{Error, Finding, Findings};
use crate::layout::{Layout, Reservation};
use crate::record::{Endian, Record, record};
use crate::source::ReadAt;
use crate::table::{Shape, Table};

/// Directory entries beyond this number are not looked at.
const MAX_STREAMS: u64 = 4096;

record! {
    /// `MINIDUMP_LOCATION_DESCRIPTOR` (`minidumpapiset.h`), 8 bytes: where something lies in the file.
    pub struct LocationDescriptor[8] {
        /// Its size in bytes.
        pub data_size: U32,
        /// Where it starts; 0 means absent.
        pub rva: U32,
    }

    /// `MINIDUMP_DIRECTORY` (`minidumpapiset.h`), 12 bytes: one stream.
    pub struct DirectoryEntry[12] {
        /// A [`StreamType`].
        pub stream_type: U32,
        /// Where the stream lies.
        pub location: LocationDescriptor,
    }
}

impl LocationDescriptor {
    /// Where it starts, or `None` where it is absent (offset or size 0).
    #[must_use]
    pub fn place(&self) -> Option<(FileOffset, u64)> {
        let offset = Rva(self.rva.get()).offset()?;
        (self.data_size.get() > 0).then(|| (offset, u64::from(self.data_size.get())))
    }
}

/// An opened minidump: its header and directory. Streams are read when they are asked for.
#[derive(Clone)]
pub struct Minidump<'a> {
    source: &'a dyn ReadAt,
    endian: Endian,
    header: Header,
    streams: Vec<DirectoryEntry>,
    directory_offset: FileOffset,
    findings: Findings,
}

impl core::fmt::Debug for Minidump<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Minidump")
            .field("endian", &self.endian)
            .field("header", &self.header)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// One stream of a minidump: its type and where it lies. Its contents are read by the types that implement
/// [`StreamContent`].
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// The file.
    pub source: &'a dyn ReadAt,
    /// The byte order of the file.
    pub endian: Endian,
    /// What it holds.
    pub stream_type: StreamType,
    /// Where it starts.
    pub offset: FileOffset,
    /// Its size in bytes as the directory says, cut to the end of the file.
    pub size: u64,
    /// Its size in bytes as the directory says.
    pub claimed_size: u64,
}

impl core::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} at {} ({} bytes)", self.stream_type, self.offset, self.size)
    }
}

/// The contents of a stream, typed.
pub trait StreamContent<'a>: Sized {
    /// The type under which the directory lists it.
    const TYPE: StreamType;

    /// Reads it. What is damaged but does not make the rest useless becomes a finding.
    ///
    /// # Errors
    /// [`Error::Malformed`] where nothing of it can be used; [`Error::Read`] where the medium fails.
    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error>;
}

impl<'a> Stream<'a> {
    /// The first file offset after the stream.
    #[must_use]
    pub const fn end(&self) -> FileOffset {
        self.offset.saturating_add(self.size)
    }

    /// The fixed part at the start of the stream.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream is shorter; [`Error::Read`] where the medium fails.
    pub fn head<T: Record>(&self) -> Result<T, Error> {
        self.record_at(0)
    }

    /// A record that starts `at` bytes into the stream and lies within it.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream is shorter; [`Error::Read`] where the medium fails.
    pub fn record_at<T: Record>(&self, at: u64) -> Result<T, Error> {
        let bytes = self.bytes_at(at, T::SIZE as u64)?;
        Ok(T::read_partial(&bytes, self.endian))
    }

    /// `size` bytes that start `at` bytes into the stream and lie within it. Lent where possible; a caller bounds
    /// `size` where it comes from the file.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the stream is shorter; [`Error::Read`] where the medium fails.
    pub fn bytes_at(&self, at: u64, size: u64) -> Result<Cow<'a, [u8]>, Error> {
        let short = || {
            Error::malformed(
                self.offset,
                Cow::Owned(alloc::format!("{}", self.stream_type)),
                alloc::format!("{} bytes, at least {} expected", self.size, at.saturating_add(size)),
            )
        };
        if at.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(short());
        }
        self.source.bytes(
            self.offset.saturating_add(at),
            usize::try_from(size).map_err(|_| short())?,
        )
    }

    /// The whole stream.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit` bytes; [`Error::Read`] where the medium fails.
    pub fn bytes(&self, limit: u64) -> Result<Cow<'a, [u8]>, Error> {
        if self.size > limit {
            return Err(Error::TooLarge {
                what: Cow::Owned(alloc::format!("{}", self.stream_type)),
                value: self.size,
                limit,
            });
        }
        self.bytes_at(0, self.size)
    }

    /// The string that `rva` points to; `None` where it is absent. A string that cannot be read becomes a finding.
    pub fn string(&self, rva: u32, what: &'static str, findings: &mut Findings) -> Option<String> {
        read_optional_string(self.source, self.endian, Rva(rva), what, findings)
    }
}

/// The string at `rva`; `None` where it is absent. A string that cannot be read becomes a finding.
pub(crate) fn read_optional_string(
    source: &dyn ReadAt,
    endian: Endian,
    rva: Rva,
    what: &'static str,
    findings: &mut Findings,
) -> Option<String> {
    match string::read_string(source, endian, rva.offset()?) {
        Ok(text) => Some(text),
        Err(error) => {
            findings.push(error.into_finding(what));
            None
        }
    }
}

impl<'a> Minidump<'a> {
    /// Reads the header and the directory, nothing else.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file is no minidump or its directory lies outside of it.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, Error> {
        let size = source.size();
        let mut bytes = [0; Header::SIZE];
        let there = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
        source.read_exact_at(FileOffset(0), &mut bytes[..there])?;
        if there < 4 {
            return Err(Error::malformed(
                0,
                "MINIDUMP_HEADER",
                alloc::format!("the file has {size} bytes, 32 expected"),
            ));
        }
        let endian = match &bytes[..4] {
            b"MDMP" => Endian::Little,
            b"PMDM" => Endian::Big,
            [0, 0, 0, 0] if bytes[4..6] == VERSION.to_le_bytes() => {
                return Err(Error::malformed(
                    0,
                    "MINIDUMP_HEADER.Signature",
                    "0: the writer was interrupted before it finished the dump",
                ));
            }
            b"XDEC" | b"SDEC" | b"CDEC" | b"CEDX" | b"CEDS" | b"CEDC" => {
                return Err(Error::malformed(
                    0,
                    "MINIDUMP_HEADER.Signature",
                    "a dump of Windows CE, which is not supported",
                ));
            }
            found => {
                return Err(Error::malformed(
                    0,
                    "MINIDUMP_HEADER.Signature",
                    alloc::format!("{found:02x?}, \"MDMP\" expected"),
                ));
            }
        };
        if there < Header::SIZE {
            return Err(Error::malformed(
                0,
                "MINIDUMP_HEADER",
                alloc::format!("the file has {size} bytes, 32 expected"),
            ));
        }
        let header = Header::read_partial(&bytes, endian);
        if header.version.get() & 0xFFFF != u32::from(VERSION) {
            return Err(Error::malformed(
                4,
                "MINIDUMP_HEADER.Version",
                alloc::format!(
                    "{:#06x} in the low half, {VERSION:#06x} expected",
                    header.version.get() & 0xFFFF
                ),
            ));
        }
        let mut findings = Findings::default();
        let claimed = u64::from(header.number_of_streams.get());
        let directory_offset = FileOffset(u64::from(header.stream_directory_rva.get()));
        if claimed > 0 && directory_offset.saturating_add(DirectoryEntry::SIZE as u64).0 > size {
            return Err(Error::malformed(
                12,
                "MINIDUMP_HEADER.StreamDirectoryRva",
                alloc::format!("{directory_offset}, but the file ends at {size:#x}"),
            ));
        }
        if claimed > MAX_STREAMS {
            findings.add(
                8,
                "MINIDUMP_HEADER.NumberOfStreams",
                alloc::format!("{claimed}, at most {MAX_STREAMS} are read"),
            );
        }
        let shape = Shape {
            offset: directory_offset,
            end: FileOffset(size),
            stride: DirectoryEntry::SIZE,
            claimed: claimed.min(MAX_STREAMS),
        };
        let table = Table::<DirectoryEntry>::new(source, endian, shape, "MINIDUMP_DIRECTORY", &mut findings);
        let streams = table.to_vec()?;
        let mut dump = Self {
            source,
            endian,
            header,
            streams,
            directory_offset,
            findings: Findings::default(),
        };
        dump.note_directory(&mut findings);
        dump.findings = findings;
        Ok(dump)
    }

    /// Notes entries that occur twice or do not lie within the file.
    fn note_directory(&self, findings: &mut Findings) {
        let mut seen = Vec::new();
        for (index, entry) in self.streams.iter().enumerate() {
            let stream_type = StreamType(entry.stream_type.get());
            if stream_type == StreamType::UNUSED {
                continue;
            }
            let at = self
                .directory_offset
                .saturating_add((index * DirectoryEntry::SIZE) as u64);
            let end = u64::from(entry.location.rva.get()) + u64::from(entry.location.data_size.get());
            if end > self.source.size() {
                findings.push(Finding::new(
                    at,
                    alloc::format!("{stream_type}"),
                    alloc::format!(
                        "{} bytes at {:#x}, but the file ends at {:#x}",
                        entry.location.data_size,
                        entry.location.rva,
                        self.source.size()
                    ),
                ));
            }
            // LLDB writes an exception stream for each stopped thread.
            if seen.contains(&stream_type) && stream_type != StreamType::EXCEPTION {
                findings.push(Finding::new(
                    at,
                    alloc::format!("{stream_type}"),
                    "a second stream of this type; the first one is used",
                ));
            }
            seen.push(stream_type);
        }
    }

    /// The file.
    #[must_use]
    pub const fn source(&self) -> &'a dyn ReadAt {
        self.source
    }

    /// Its byte order.
    #[must_use]
    pub const fn endian(&self) -> Endian {
        self.endian
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What the writer says that the dump contains.
    #[must_use]
    pub const fn flags(&self) -> MiniDumpType {
        MiniDumpType::from_bits_retain(self.header.flags.get())
    }

    /// What was wrong with the directory.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The directory as it stands, unused entries included.
    #[must_use]
    pub fn directory(&self) -> &[DirectoryEntry] {
        &self.streams
    }

    /// All streams in directory order, without the unused entries.
    pub fn streams(&self) -> impl Iterator<Item = Stream<'a>> + '_ {
        self.streams
            .iter()
            .filter(|entry| entry.stream_type.get() != 0)
            .map(|entry| self.stream_of(entry))
    }

    fn stream_of(&self, entry: &DirectoryEntry) -> Stream<'a> {
        let offset = u64::from(entry.location.rva.get());
        let claimed_size = u64::from(entry.location.data_size.get());
        Stream {
            source: self.source,
            endian: self.endian,
            stream_type: StreamType(entry.stream_type.get()),
            offset: FileOffset(offset),
            size: claimed_size.min(self.source.size().saturating_sub(offset)),
            claimed_size,
        }
    }

    /// The first stream of a type. (`MiniDumpReadDumpStream` takes the first one, too.)
    #[must_use]
    pub fn stream(&self, stream_type: StreamType) -> Option<Stream<'a>> {
        self.streams().find(|stream| stream.stream_type == stream_type)
    }

    /// The first stream of `T`'s type, typed; `None` where the dump has none.
    ///
    /// # Errors
    /// As [`StreamContent::read`].
    pub fn get<T: StreamContent<'a>>(&self, findings: &mut Findings) -> Result<Option<T>, Error> {
        self.stream(T::TYPE)
            .map(|stream| T::read(&stream, findings))
            .transpose()
    }

    /// The string at `rva`; `None` where it is absent. A string that cannot be read becomes a finding.
    pub fn string(&self, rva: u32, what: &'static str, findings: &mut Findings) -> Option<String> {
        read_optional_string(self.source, self.endian, Rva(rva), what, findings)
    }
}

/// The contents of a stream that can be written.
pub trait WriteStream {
    /// The type under which the directory lists it.
    fn stream_type(&self) -> StreamType;

    /// Lays the stream out, and what it refers to, at the end of `layout`, in the layout's byte order. The result is
    /// the stream's place for the directory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where a count, a size or an offset does not fit its field.
    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error>;
}

/// Fills the header at the start of a layout and its directory.
///
/// # Errors
/// [`Error::TooLarge`] where the directory does not lie below 4 GiB.
pub fn write_directory(
    layout: &mut Layout,
    header: Reservation,
    directory: Reservation,
    mut record: Header,
    entries: &[DirectoryEntry],
) -> Result<(), Error> {
    record.signature = SIGNATURE.into();
    record.number_of_streams = crate::layout::count(entries.len(), "MINIDUMP_HEADER.NumberOfStreams")?.into();
    record.stream_directory_rva = layout
        .rva(
            directory.offset,
            directory.size as u64,
            "MINIDUMP_HEADER.StreamDirectoryRva",
        )?
        .0
        .into();
    layout.fill_record(header, 0, &record);
    for (index, entry) in entries.iter().enumerate() {
        layout.fill_record(directory, index * DirectoryEntry::SIZE, entry);
    }
    Ok(())
}
