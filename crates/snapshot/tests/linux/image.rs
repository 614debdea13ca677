//! ELF images made by hand, after the tables of elf(5).

/// What an image has. All have four pages: headers and notes, code, and two of data, of which the file has one.
#[derive(Clone, Default)]
pub(crate) struct Image<'a> {
    /// The size of a pointer.
    pub(crate) word: usize,
    pub(crate) build_id: Option<&'a [u8]>,
    pub(crate) soname: Option<&'a str>,
    /// Where the linker's `r_debug` is.
    pub(crate) debug: Option<u64>,
    /// Whether the section headers, with a `.text` of the code page, are loaded behind the notes.
    pub(crate) has_sections: bool,
}

/// The size of an image in memory.
pub(crate) const SIZE: u64 = 0x4000;

const DYNAMIC: usize = 0x2000;
const STRINGS: usize = 0x2200;
const NOTES: usize = 0x400;
const SECTIONS: usize = 0x600;
const SECTION_NAMES: usize = 0x800;

impl Image<'_> {
    fn push(&self, bytes: &mut Vec<u8>, word: u64) {
        bytes.extend(&word.to_le_bytes()[..self.word]);
    }

    fn program_header(&self, kind: u32, flags: u32, at: usize, sizes: (usize, usize), align: u64) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        if self.word == 8 {
            bytes.extend(flags.to_le_bytes());
        }
        for word in [at, at, at, sizes.0, sizes.1] {
            self.push(&mut bytes, word as u64);
        }
        if self.word == 4 {
            bytes.extend(flags.to_le_bytes());
        }
        self.push(&mut bytes, align);
        bytes
    }

    fn section(&self, name: u32, kind: u32, at: usize, size: usize) -> Vec<u8> {
        let mut bytes = [name.to_le_bytes(), kind.to_le_bytes()].concat();
        for word in [0, at, at, size] {
            self.push(&mut bytes, word as u64);
        }
        bytes.extend([0; 8]);
        self.push(&mut bytes, 1);
        self.push(&mut bytes, 0);
        bytes
    }

    /// Where the program headers are.
    pub(crate) fn headers_at(&self) -> u64 {
        if self.word == 8 { 64 } else { 52 }
    }

    /// The size of a program header, and how many there are.
    pub(crate) fn headers(&self) -> (u64, u64) {
        (if self.word == 8 { 56 } else { 32 }, 6)
    }

    /// The first three pages, which the file has.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (header_size, count) = self.headers();
        let is_64 = self.word == 8;
        let mut bytes = vec![0x7F, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1];
        bytes.resize(16, 0);
        // ET_DYN; EM_X86_64 or EM_386; EV_CURRENT.
        bytes.extend([3, 0, if is_64 { 62 } else { 3 }, 0, 1, 0, 0, 0]);
        let sections = if self.has_sections { SECTIONS as u64 } else { 0 };
        for word in [0x1000, self.headers_at(), sections] {
            self.push(&mut bytes, word);
        }
        bytes.extend([0; 4]);
        let section_size = if is_64 { 64 } else { 40 };
        let section_count = if self.has_sections { 3 } else { 0 };
        let halves = [
            self.headers_at(),
            header_size,
            count,
            section_size,
            section_count,
            section_count.max(1) - 1,
        ];
        bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()[..2].to_vec()));
        let note = self.build_id.map_or_else(Vec::new, |id| {
            let sizes = [4, u32::try_from(id.len()).unwrap(), 3];
            let head: Vec<u8> = sizes.iter().flat_map(|word| word.to_le_bytes()).collect();
            [&head, &b"GNU\0"[..], id].concat()
        });
        let table = usize::try_from(header_size * count).unwrap();
        let first = usize::try_from(self.headers_at()).unwrap();
        // PT_PHDR, three PT_LOAD, PT_NOTE, PT_DYNAMIC.
        bytes.extend(self.program_header(6, 4, first, (table, table), 8));
        bytes.extend(self.program_header(1, 4, 0, (0x1000, 0x1000), 0x1000));
        bytes.extend(self.program_header(1, 5, 0x1000, (0x1000, 0x1000), 0x1000));
        bytes.extend(self.program_header(1, 6, 0x2000, (0x1000, 0x1800), 0x1000));
        bytes.extend(self.program_header(4, 4, NOTES, (note.len(), note.len()), 4));
        bytes.extend(self.program_header(2, 6, DYNAMIC, (0x200, 0x200), 8));
        bytes.resize(NOTES, 0);
        bytes.extend(note);
        bytes.resize(SECTIONS, 0);
        if self.has_sections {
            bytes.extend(self.section(0, 0, 0, 0));
            bytes.extend(self.section(1, 1, 0x1000, 0x1000));
            bytes.extend(self.section(7, 3, SECTION_NAMES, 17));
        }
        bytes.resize(SECTION_NAMES, 0);
        bytes.extend(b"\0.text\0.shstrtab\0");
        bytes.resize(0x1000, 0);
        // Code that is no two times the same within a page.
        bytes.extend((0..0x1000_u32).map(|at| at.wrapping_mul(0x9E37_79B9).to_le_bytes()[3]));
        // DT_SONAME 14, DT_STRTAB 5, DT_DEBUG 21, DT_NULL.
        let strings = (self.soname.is_some()).then_some([(14, 1), (5, STRINGS as u64)]);
        let debug = self.debug.map(|debug| (21, debug));
        for (tag, value) in strings.into_iter().flatten().chain(debug).chain([(0, 0)]) {
            self.push(&mut bytes, tag);
            self.push(&mut bytes, value);
        }
        bytes.resize(STRINGS + 1, 0);
        bytes.extend(self.soname.unwrap_or_default().bytes());
        bytes.resize(0x3000, 0);
        bytes
    }

    /// Where the dynamic section is.
    pub(crate) const fn dynamic() -> u64 {
        DYNAMIC as u64
    }
}
