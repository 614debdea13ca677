//! ELF images as they lie in the memory of a process.

use dotdump_format::{Error, VirtAddr, VirtRange};
use object::elf;

use crate::elf_headers::{ElfHeaders, ElfSegment, MAX_HEADERS};
use crate::memory::Memory;

/// The size of a page of memory, in bytes.
pub(super) const PAGE: u64 = 4096;

/// The longest dynamic section that is read, in bytes: real ones have some hundred.
const MAX_DYNAMIC: u64 = 64 << 10;

/// The longest notes that are read, in bytes.
const MAX_NOTES: u64 = 64 << 10;

/// The most section headers, and the longest name table, that are looked through.
const MAX_SECTIONS: u64 = 1024;

/// The longest path and name that is read (`PATH_MAX`), in bytes.
const MAX_NAME: usize = 4096;

/// Reads words of a process.
#[derive(Clone, Copy)]
pub(super) struct WordReader<'m> {
    pub(super) memory: &'m dyn Memory,
    /// The size of a pointer in bytes: 4 or 8.
    pub(super) word: usize,
}

impl<'m> WordReader<'m> {
    /// At most `size` bytes at `address`: what is there.
    pub(super) fn bytes(&self, address: u64, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let there = self.memory.read(VirtAddr(address), &mut bytes)?;
        bytes.truncate(there);
        Ok(bytes)
    }

    /// The words at `address`, `count` of them; `None` where they are not all there.
    pub(super) fn words<const N: usize>(&self, address: u64) -> Result<Option<[u64; N]>, Error> {
        let bytes = self.bytes(address, (N * self.word) as u64)?;
        if bytes.len() < N * self.word {
            return Ok(None);
        }
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(self.word)) {
            *word = word_of(bytes);
        }
        Ok(Some(words))
    }

    /// The text that ends with a NUL at `address`; `None` where there is none, or a longer one than paths can be.
    pub(super) fn text(&self, address: u64) -> Result<Option<Vec<u8>>, Error> {
        /// Most names are shorter, and few lie so close to the end of readable memory.
        const FIRST: u64 = 128;

        if address == 0 {
            return Ok(None);
        }
        for size in [FIRST, MAX_NAME as u64] {
            let mut bytes = self.bytes(address, size)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                bytes.truncate(end);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// A dynamic section, up to its `DT_NULL`.
    pub(super) fn dynamic(&self, section: VirtRange) -> Result<Dynamic, Error> {
        let mut bytes = self.bytes(section.start.0, section.size().min(MAX_DYNAMIC))?;
        let mut entries = Vec::new();
        let mut used = 0;
        for pair in bytes.chunks_exact(2 * self.word) {
            let (tag, value) = (word_of(&pair[..self.word]), word_of(&pair[self.word..]));
            used += 2 * self.word;
            if tag == 0 {
                break;
            }
            entries.push((i64::from_le_bytes(tag.to_le_bytes()), value));
        }
        bytes.truncate(used);
        Ok(Dynamic { entries, bytes })
    }
}

/// A dynamic section.
pub(super) struct Dynamic {
    /// Tags and values.
    entries: Vec<(i64, u64)>,
    /// Its bytes, `DT_NULL` included.
    pub(super) bytes: Vec<u8>,
}

impl Dynamic {
    /// The value of the first entry with a tag.
    pub(super) fn value(&self, wanted: elf::DynamicTag) -> Option<u64> {
        let found = self.entries.iter().find(|(tag, _)| *tag == wanted.0);
        found.map(|(_, value)| *value)
    }
}

/// A little-endian word of 4 or 8 bytes.
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// An image in memory.
pub(super) struct ElfImage<'m> {
    reader: WordReader<'m>,
    /// Where it begins.
    base: u64,
    /// How far it lies from the addresses in its headers; adding wraps.
    bias: u64,
    pub(super) headers: ElfHeaders,
    /// The bytes at its start.
    start: Vec<u8>,
}

/// What lies at an address that could be the start of an image.
pub(super) enum Found<'m> {
    /// An image whose headers are there.
    Image(Box<ElfImage<'m>>),
    /// Something else, or a broken image.
    Other,
    /// Nothing that could be read.
    Absent,
}

impl<'m> ElfImage<'m> {
    /// The image at `base`.
    pub(super) fn read(memory: &'m dyn Memory, word: usize, base: VirtAddr) -> Result<Found<'m>, Error> {
        let reader = WordReader { memory, word };
        let mut start = reader.bytes(base.0, elf::ELFMAG.len() as u64)?;
        if start.is_empty() {
            return Ok(Found::Absent);
        }
        if start != elf::ELFMAG {
            return Ok(Found::Other);
        }
        start = reader.bytes(base.0, PAGE - base.0 % PAGE)?;
        if let Some(size) = ElfHeaders::size(&start)
            && size > start.len() as u64
            && size <= MAX_HEADERS as u64
        {
            start = reader.bytes(base.0, size)?;
        }
        let Some(headers) = ElfHeaders::parse(&start).filter(|headers| headers.is_64 == (word == 8)) else {
            return Ok(Found::Other);
        };
        let Some(first) = first_address(&headers) else {
            return Ok(Found::Other);
        };
        Ok(Found::Image(Box::new(Self {
            reader,
            base: base.0,
            bias: base.0.wrapping_sub(first),
            headers,
            start,
        })))
    }

    /// Its size in memory, whole pages; `None` where the headers make no sense.
    pub(super) fn size(&self) -> Option<u64> {
        let first = first_address(&self.headers)?;
        let ends = self
            .headers
            .loaded()
            .map(|segment| segment.address.checked_add(segment.size));
        let end = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        end.checked_sub(first)?.checked_next_multiple_of(PAGE)
    }

    /// Where a segment lies.
    fn place(&self, segment: &ElfSegment) -> VirtRange {
        VirtRange::sized(VirtAddr(self.bias.wrapping_add(segment.address)), segment.size)
    }

    /// The bytes of `range`, at most `limit`: of those read already where they are among them.
    fn bytes(&self, range: VirtRange, limit: u64) -> Result<Vec<u8>, Error> {
        let size = range.size().min(limit);
        let at = range
            .start
            .0
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok());
        let end = at
            .zip(usize::try_from(size).ok())
            .and_then(|(at, size)| at.checked_add(size));
        if let Some(bytes) = at.zip(end).and_then(|(at, end)| self.start.get(at..end)) {
            return Ok(bytes.to_vec());
        }
        self.reader.bytes(range.start.0, size)
    }

    /// Its GNU build id.
    pub(super) fn build_id(&self) -> Result<Option<Vec<u8>>, Error> {
        for segment in self.headers.segments_of(elf::PT_NOTE) {
            let notes = self.bytes(self.place(segment), MAX_NOTES)?;
            if let Some(id) = self.headers.build_id_in(&notes, segment.align) {
                return Ok(Some(id).filter(|id| !id.is_empty()));
            }
        }
        Ok(None)
    }

    /// Its own name: `DT_SONAME`.
    pub(super) fn soname(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(segment) = self.headers.segments_of(elf::PT_DYNAMIC).next() else {
            return Ok(None);
        };
        let dynamic = self.reader.dynamic(self.place(segment))?;
        let (Some(name), Some(table)) = (dynamic.value(elf::DT_SONAME), dynamic.value(elf::DT_STRTAB)) else {
            return Ok(None);
        };
        // glibc's linker puts the address there; others, and the kernel for the vDSO, leave what the image has.
        let size = self.size().unwrap_or(0);
        let table = if table.wrapping_sub(self.base) < size {
            table
        } else {
            table.wrapping_add(self.bias)
        };
        let name = self.reader.text(table.wrapping_add(name))?;
        Ok(name.filter(|name| !name.is_empty()))
    }

    /// Breakpad's substitute for a build id: the first page of `.text`, folded to 16 bytes by XOR. `section` gives the
    /// address at which a byte of the file is mapped.
    pub(super) fn text_hash(&self, address_of: impl Fn(u64) -> Option<u64>) -> Result<Option<Vec<u8>>, Error> {
        let Some(table) = self.headers.sections else {
            return Ok(None);
        };
        let word = self.reader.word;
        let (expected, size_at) = if word == 8 { (64, 0x20) } else { (40, 0x14) };
        let count = u64::from(table.count);
        if u64::from(table.entry_size) != expected || count > MAX_SECTIONS {
            return Ok(None);
        }
        let Some(at) = address_of(table.offset) else {
            return Ok(None);
        };
        let sections = self.reader.bytes(at, count * expected)?;
        let mut sections = sections.chunks_exact(usize::from(table.entry_size));
        // Name, type, then words: flags, address, offset, size.
        let section = |bytes: &[u8]| {
            let field = |at: usize, size: usize| bytes.get(at..at + size).map_or(0, word_of);
            let offset = field(size_at - word, word);
            (
                field(0, 4),
                field(4, 4),
                field(8 + word, word),
                offset,
                field(size_at, word),
            )
        };
        let Some((_, _, _, names_at, names_size)) = sections.clone().nth(usize::from(table.names)).map(section) else {
            return Ok(None);
        };
        let Some(names) = address_of(names_at) else {
            return Ok(None);
        };
        let names = self.reader.bytes(names, names_size.min(MAX_SECTIONS * 64))?;
        let text = sections.find_map(|bytes| {
            let (name, kind, address, _, size) = section(bytes);
            let name = names.get(usize::try_from(name).ok()?..)?;
            let is_text = name.starts_with(b".text\0") && kind == u64::from(elf::SHT_PROGBITS.0);
            is_text.then_some((address, size))
        });
        let Some((address, size)) = text else { return Ok(None) };
        let range = VirtRange::sized(VirtAddr(self.bias.wrapping_add(address)), size.min(PAGE));
        let text = self.bytes(range, PAGE)?;
        if (text.len() as u64) < range.size() || text.is_empty() {
            return Ok(None);
        }
        Ok(Some(fold(&text)))
    }
}

/// XOR of all blocks of 16 bytes; Breakpad leaves out a last one that is not whole.
fn fold(text: &[u8]) -> Vec<u8> {
    let mut folded = vec![0; 16];
    for block in text.chunks_exact(16) {
        for (sum, byte) in folded.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    folded
}

/// The address, as linked, at which the image begins: that of its first page.
fn first_address(headers: &ElfHeaders) -> Option<u64> {
    headers
        .loaded()
        .map(|segment| segment.address.wrapping_sub(segment.address % PAGE))
        .min()
}
