//! What a minidump tells of a process beside its memory: contexts, names, modules, handles, regions.

use crate::minidump::Dump;

/// The kind of a context of AMD64, in `ContextFlags`.
const CONTEXT_AMD64: u32 = 0x10_0000;
/// That a context has extended state behind it.
const CONTEXT_XSTATE: u32 = 0x40;
/// The size of a context of AMD64.
const CONTEXT_SIZE: usize = 1232;

/// A context of AMD64. The offsets are those of `CONTEXT` in `winnt.h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(pub Vec<u8>);

/// A component of the extended state: its number, its size, and whether it is aligned to 64 bytes where the others are
/// packed (Intel's manual, volume 1, 13.5).
const COMPONENTS: [(u32, usize, bool); 10] = [
    (2, 256, false),
    (3, 64, false),
    (4, 64, false),
    (5, 64, false),
    (6, 512, false),
    (7, 1024, false),
    (9, 8, false),
    (11, 16, false),
    (17, 64, true),
    (18, 8192, true),
];

impl Context {
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("a field")
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.number(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.number(at))
    }

    /// `ContextFlags`.
    ///
    /// # Panics
    /// Where it is no context of AMD64.
    #[must_use]
    pub fn flags(&self) -> u32 {
        let flags = self.u32(0x30);
        assert_eq!(flags & 0xFFFF_FF00, CONTEXT_AMD64, "{flags:#x}");
        flags
    }

    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    #[must_use]
    pub fn general(&self) -> [u64; 16] {
        std::array::from_fn(|index| self.u64(0x78 + 8 * index))
    }

    /// The stack pointer.
    #[must_use]
    pub fn rsp(&self) -> u64 {
        self.general()[4]
    }

    /// The instruction pointer.
    #[must_use]
    pub fn rip(&self) -> u64 {
        self.u64(0xF8)
    }

    /// Both copies of the register that controls SSE.
    #[must_use]
    pub fn mxcsr(&self) -> [u32; 2] {
        [self.u32(0x34), self.u32(0x118)]
    }

    /// A register of the x87 stack: 80 bits.
    #[must_use]
    pub fn st(&self, index: usize) -> [u8; 10] {
        self.number(0x120 + 16 * index)
    }

    /// An SSE register.
    #[must_use]
    pub fn xmm(&self, index: usize) -> [u8; 16] {
        self.number(0x1A0 + 16 * index)
    }

    /// A component of the extended state that is behind the context; `None` where there is none, or it is in its initial
    /// state.
    ///
    /// # Panics
    /// Where what is there contradicts itself.
    #[must_use]
    pub fn component(&self, wanted: u32) -> Option<&[u8]> {
        if self.flags() & CONTEXT_XSTATE == 0 || self.0.len() <= CONTEXT_SIZE {
            return None;
        }
        // CONTEXT_EX.XState, whose offset is relative to the start of CONTEXT_EX.
        let (offset, length) = (
            self.u32(CONTEXT_SIZE + 16) as usize,
            self.u32(CONTEXT_SIZE + 20) as usize,
        );
        let area = &self.0[CONTEXT_SIZE + offset..][..length];
        let word = |at: usize| u64::from_le_bytes(area[at..at + 8].try_into().expect("eight bytes"));
        let (mask, compaction) = (word(0), word(8));
        assert_eq!(
            compaction >> 63,
            1,
            "standard format is not expected of dotdump: {compaction:#x}"
        );
        assert_eq!(mask & !compaction, 0, "{mask:#x} of {compaction:#x}");
        // The area of the XSAVE instructions starts 512 bytes before.
        let mut at = 576;
        for (number, size, is_aligned) in COMPONENTS {
            if compaction & (1 << number) == 0 {
                continue;
            }
            if is_aligned {
                at = usize::next_multiple_of(at, 64);
            }
            if number == wanted {
                return (mask & (1 << number) != 0).then(|| &area[at - 512..at - 512 + size]);
            }
            at += size;
        }
        None
    }

    /// A vector register of up to 64 bytes, put together of its parts.
    ///
    /// # Panics
    /// Where the extended state contradicts itself.
    #[must_use]
    pub fn vector(&self, index: usize) -> [u8; 64] {
        let mut value = [0; 64];
        let mut put = |at: usize, component: u32, place: usize, size: usize| {
            if let Some(bytes) = self.component(component) {
                value[at..at + size].copy_from_slice(&bytes[place..place + size]);
            }
        };
        if index < 16 {
            put(16, 2, 16 * index, 16);
            put(32, 6, 32 * index, 32);
            value[..16].copy_from_slice(&self.xmm(index));
        } else {
            put(0, 7, 64 * (index - 16), 64);
        }
        value
    }

    /// A mask register.
    ///
    /// # Panics
    /// Where the extended state contradicts itself.
    #[must_use]
    pub fn mask(&self, index: usize) -> Option<u64> {
        let bytes = self.component(5)?[8 * index..8 * index + 8].try_into();
        bytes.ok().map(u64::from_le_bytes)
    }
}

/// A module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it starts.
    pub base: u64,
    /// Its size.
    pub size: u64,
    /// Its name.
    pub name: String,
    /// The build id, where its `CodeView` record is one of ELF files (`BpEL`).
    pub build_id: Option<Vec<u8>>,
}

/// An open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Its number.
    pub handle: u64,
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it may be used.
    pub access: u32,
}

/// A region of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it starts.
    pub base: u64,
    /// Its size.
    pub size: u64,
    /// `MEM_*`.
    pub state: u32,
    /// `PAGE_*`.
    pub protect: u32,
}

/// What a thread was doing, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// Its id.
    pub id: u32,
    /// When it was started: FILETIME.
    pub create_time: u64,
    /// 100 ns in the kernel.
    pub kernel_time: u64,
    /// 100 ns outside of it.
    pub user_time: u64,
    /// Which processors it may use.
    pub affinity: u64,
}

/// Why the dump was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which thread it happened to.
    pub thread_id: u32,
    /// The number of the signal.
    pub code: u32,
    /// `si_code`.
    pub flags: u32,
    /// Where.
    pub address: u64,
    /// Its registers.
    pub context: Context,
}

impl Dump {
    /// A `MINIDUMP_STRING`.
    fn string(&self, at: usize) -> String {
        if at == 0 {
            return String::new();
        }
        let units = self.bytes(at + 4, self.offset(at)).chunks_exact(2);
        let units: Vec<u16> = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).expect("a text")
    }

    /// The offsets of entries behind a header that says how large it and they are.
    fn entries(&self, kind: u32, count_at: usize) -> Vec<usize> {
        let Some((_, at)) = self.stream(kind) else {
            return Vec::new();
        };
        let (header, size) = (self.offset(at), self.offset(at + 4));
        (0..self.offset(at + count_at))
            .map(|index| at + header + size * index)
            .collect()
    }

    /// The context of each thread, by its id.
    #[must_use]
    pub fn contexts(&self) -> Vec<(u32, Context)> {
        let (start, count) = self.list(3, 48).unwrap_or_default();
        let records = (0..count).map(|index| start + 48 * index);
        records
            .map(|at| {
                (
                    self.u32(at),
                    Context(self.bytes(self.offset(at + 44), self.offset(at + 40)).to_vec()),
                )
            })
            .collect()
    }

    /// The names of threads, by their ids.
    ///
    /// # Panics
    /// Where one lies beyond 4 GiB.
    #[must_use]
    pub fn thread_names(&self) -> Vec<(u32, String)> {
        let Some((_, at)) = self.stream(24) else {
            return Vec::new();
        };
        let entries = (0..self.offset(at)).map(|index| at + 4 + 12 * index);
        entries
            .map(|at| {
                (
                    self.u32(at),
                    self.string(usize::try_from(self.u64(at + 4)).expect("an offset")),
                )
            })
            .collect()
    }

    /// The modules.
    #[must_use]
    pub fn modules(&self) -> Vec<Module> {
        let (start, count) = self.list(4, 108).unwrap_or_default();
        let records = (0..count).map(|index| start + 108 * index);
        records
            .map(|at| {
                let record = self.bytes(self.offset(at + 80), self.offset(at + 76));
                Module {
                    base: self.u64(at),
                    size: u64::from(self.u32(at + 8)),
                    name: self.string(self.offset(at + 20)),
                    build_id: record.strip_prefix(b"LEpB").map(<[u8]>::to_vec),
                }
            })
            .collect()
    }

    /// The modules that are no more there: address and name.
    #[must_use]
    pub fn unloaded_modules(&self) -> Vec<(u64, String)> {
        let entries = self.entries(14, 8);
        entries
            .into_iter()
            .map(|at| (self.u64(at), self.string(self.offset(at + 20))))
            .collect()
    }

    /// The open files.
    #[must_use]
    pub fn handles(&self) -> Vec<Handle> {
        let entries = self.entries(12, 8).into_iter();
        entries
            .map(|at| Handle {
                handle: self.u64(at),
                kind: self.string(self.offset(at + 8)),
                name: self.string(self.offset(at + 12)),
                access: self.u32(at + 20),
            })
            .collect()
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        let entries = self.entries(16, 8).into_iter();
        entries
            .map(|at| Region {
                base: self.u64(at),
                size: self.u64(at + 24),
                state: self.u32(at + 32),
                protect: self.u32(at + 36),
            })
            .collect()
    }

    /// The threads' times.
    #[must_use]
    pub fn thread_infos(&self) -> Vec<ThreadInfo> {
        let entries = self.entries(17, 8).into_iter();
        entries
            .map(|at| ThreadInfo {
                id: self.u32(at),
                create_time: self.u64(at + 16),
                kernel_time: self.u64(at + 32),
                user_time: self.u64(at + 40),
                affinity: self.u64(at + 56),
            })
            .collect()
    }

    /// Why it was made.
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        let (_, at) = self.stream(6)?;
        Some(Exception {
            thread_id: self.u32(at),
            code: self.u32(at + 8),
            flags: self.u32(at + 12),
            address: self.u64(at + 24),
            context: Context(self.bytes(self.offset(at + 164), self.offset(at + 160)).to_vec()),
        })
    }

    /// A stream's bytes.
    #[must_use]
    pub fn stream_bytes(&self, kind: u32) -> Option<&[u8]> {
        let (size, at) = self.stream(kind)?;
        Some(self.bytes(at, usize::try_from(size).ok()?))
    }

    /// The process that it is of (`MINIDUMP_MISC_INFO.ProcessId`).
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        let (_, at) = self.stream(15)?;
        (self.u32(at + 4) & 1 != 0).then(|| self.u32(at + 8))
    }
}
