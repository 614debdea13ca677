//! ELF cores of Linux processes, as the kernel lays them out (`fs/binfmt_elf.c`): ELF header, program headers, notes, then
//! the memory of each segment.
//!
//! All offsets are written out here, and none is taken from the engine's records.

/// The processor of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreArchitecture {
    /// 32-bit x86.
    X86,
    /// x86-64.
    Amd64,
    /// ARM64.
    Arm64,
}

/// A process whose core is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCore {
    /// The processor.
    pub architecture: CoreArchitecture,
    /// Its id.
    pub process_id: u32,
    /// The name of its main thread, at most 15 bytes.
    pub name: Vec<u8>,
    /// Its command line, at most 79 bytes.
    pub arguments: Vec<u8>,
    /// The threads, the one with the signal first.
    pub threads: Vec<CoreThread>,
    /// The signal's `siginfo_t`: 128 bytes.
    pub siginfo: Option<Vec<u8>>,
    /// The auxiliary vector, without the entry that ends it.
    pub auxv: Vec<(u64, u64)>,
    /// The mapped files: first address, end, offset in pages, path.
    pub files: Vec<(u64, u64, u64, Vec<u8>)>,
    /// The memory.
    pub segments: Vec<CoreSegment>,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id.
    pub id: u32,
    /// The general registers: 27, 17 or 34 words of the program's width.
    pub general: Vec<u64>,
    /// `NT_PRFPREG`.
    pub floating_point: Option<Vec<u8>>,
    /// `NT_X86_XSTATE`.
    pub xstate: Option<Vec<u8>>,
    /// Notes of other types, named `LINUX`.
    pub others: Vec<(u32, Vec<u8>)>,
}

/// A part of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreSegment {
    /// The first address.
    pub start: u64,
    /// The size in bytes.
    pub size: u64,
    /// `PF_R` (4), `PF_W` (2), `PF_X` (1).
    pub flags: u32,
    /// What the core has of it: its first bytes.
    pub bytes: Vec<u8>,
}

const PAGE: usize = 0x1000;

impl CoreArchitecture {
    /// The size of a word in bytes.
    #[must_use]
    pub const fn word_size(self) -> usize {
        match self {
            Self::X86 => 4,
            Self::Amd64 | Self::Arm64 => 8,
        }
    }

    /// How many general registers there are.
    #[must_use]
    pub const fn registers(self) -> usize {
        match self {
            Self::X86 => 17,
            Self::Amd64 => 27,
            Self::Arm64 => 34,
        }
    }

    fn word(self, value: u64) -> Vec<u8> {
        value.to_le_bytes()[..self.word_size()].to_vec()
    }
}

impl ProcessCore {
    /// The core.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let is_64 = self.architecture != CoreArchitecture::X86;
        let word = |value: u64| self.architecture.word(value);
        let (head_size, entry_size) = if is_64 { (64, 56) } else { (52, 32) };
        let notes = self.notes();
        let notes_at = head_size + entry_size * (1 + self.segments.len());
        let memory_at = (notes_at + notes.len()).next_multiple_of(PAGE);

        let machine: u16 = match self.architecture {
            CoreArchitecture::X86 => 3,
            CoreArchitecture::Amd64 => 62,
            CoreArchitecture::Arm64 => 183,
        };
        let half = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
        let mut core = b"\x7FELF".to_vec();
        core.extend([if is_64 { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        core.extend(4_u16.to_le_bytes());
        core.extend(machine.to_le_bytes());
        core.extend(1_u32.to_le_bytes());
        core.extend(word(0));
        core.extend(word(head_size as u64));
        core.extend(word(0));
        core.extend(0_u32.to_le_bytes());
        core.extend(half(head_size));
        core.extend(half(entry_size));
        core.extend(half(1 + self.segments.len()));
        core.resize(head_size, 0);

        let mut header = |kind: u32, flags: u32, offset: usize, start: u64, file: usize, memory: u64| {
            core.extend(kind.to_le_bytes());
            if is_64 {
                core.extend(flags.to_le_bytes());
            }
            for value in [offset as u64, start, 0, file as u64, memory] {
                core.extend(word(value));
            }
            if !is_64 {
                core.extend(flags.to_le_bytes());
            }
            core.extend(word(if kind == 1 { PAGE as u64 } else { 4 }));
        };
        header(4, 0, notes_at, 0, notes.len(), 0);
        let mut at = memory_at;
        for segment in &self.segments {
            header(1, segment.flags, at, segment.start, segment.bytes.len(), segment.size);
            at += segment.bytes.len().next_multiple_of(PAGE);
        }
        core.extend(notes);
        for segment in &self.segments {
            core.resize(core.len().next_multiple_of(PAGE), 0);
            core.extend(&segment.bytes);
        }
        core
    }

    fn notes(&self) -> Vec<u8> {
        let mut notes = Vec::new();
        for (index, thread) in self.threads.iter().enumerate() {
            note(&mut notes, b"CORE\0", 1, &self.status(thread));
            if index == 0 {
                note(&mut notes, b"CORE\0", 3, &self.info());
                if let Some(siginfo) = &self.siginfo {
                    note(&mut notes, b"CORE\0", 0x5349_4749, siginfo);
                }
                let entries = self.auxv.iter().chain([&(0, 0)]);
                let auxv: Vec<u8> = entries
                    .flat_map(|(kind, value)| [self.architecture.word(*kind), self.architecture.word(*value)].concat())
                    .collect();
                note(&mut notes, b"CORE\0", 6, &auxv);
                if !self.files.is_empty() {
                    note(&mut notes, b"CORE\0", 0x4649_4C45, &self.file_list());
                }
            }
            if let Some(registers) = &thread.floating_point {
                note(&mut notes, b"CORE\0", 2, registers);
            }
            if let Some(state) = &thread.xstate {
                note(&mut notes, b"LINUX\0", 0x202, state);
            }
            for (kind, payload) in &thread.others {
                note(&mut notes, b"LINUX\0", *kind, payload);
            }
        }
        notes
    }

    /// `elf_prstatus`.
    fn status(&self, thread: &CoreThread) -> Vec<u8> {
        let (id_at, registers_at, size) = match self.architecture {
            CoreArchitecture::X86 => (24, 72, 144),
            CoreArchitecture::Amd64 => (32, 112, 336),
            CoreArchitecture::Arm64 => (32, 112, 392),
        };
        let mut status = vec![0; size];
        status[id_at..id_at + 4].copy_from_slice(&thread.id.to_le_bytes());
        let registers = thread.general.iter().take(self.architecture.registers());
        let registers: Vec<u8> = registers.flat_map(|value| self.architecture.word(*value)).collect();
        status[registers_at..registers_at + registers.len()].copy_from_slice(&registers);
        status
    }

    /// `elf_prpsinfo`.
    fn info(&self) -> Vec<u8> {
        let (id_at, name_at, size) = match self.architecture {
            CoreArchitecture::X86 => (12, 28, 124),
            CoreArchitecture::Amd64 | CoreArchitecture::Arm64 => (24, 40, 136),
        };
        let mut info = vec![0; size];
        info[1] = b'R';
        info[id_at..id_at + 4].copy_from_slice(&self.process_id.to_le_bytes());
        for (at, room, text) in [(name_at, 15, &self.name), (name_at + 16, 79, &self.arguments)] {
            let size = text.len().min(room);
            info[at..at + size].copy_from_slice(&text[..size]);
        }
        info
    }

    /// `NT_FILE`.
    fn file_list(&self) -> Vec<u8> {
        let word = |value: u64| self.architecture.word(value);
        let mut list = [word(self.files.len() as u64), word(PAGE as u64)].concat();
        for (start, end, offset, _) in &self.files {
            list.extend([word(*start), word(*end), word(*offset)].concat());
        }
        for (.., path) in &self.files {
            list.extend(path);
            list.push(0);
        }
        list
    }
}

fn note(notes: &mut Vec<u8>, name: &[u8], kind: u32, payload: &[u8]) {
    for value in [name.len(), payload.len()] {
        notes.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }
    notes.extend(kind.to_le_bytes());
    for part in [name, payload] {
        notes.extend(part);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
}
