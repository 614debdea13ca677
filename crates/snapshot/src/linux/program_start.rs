//! What the kernel gave a program when it started it.
//!
//! At the top of the main thread's stack lie, upwards (`create_elf_tables` of the kernel's `fs/binfmt_elf.c`): `argc`, the
//! pointers to the arguments, a null, those to the environment, a null, the auxiliary vector; then a gap, the 16 random
//! bytes and the processor's name; then the strings of the arguments, those of the environment, and the program's path.

use dotdump_format::minidump::linux_auxv::AuxvType;
use dotdump_format::{Endian, Error, VirtAddr, VirtRange};

use crate::memory::Memory;

/// The most of an auxiliary vector that is looked at, in bytes. The kernel's have some 400.
const LONGEST_AUXV: usize = 4096;

/// How far below the random bytes the auxiliary vector is looked for: the kernel leaves a random gap of up to 8 KiB.
const AUXV_SEARCH: u64 = 0x4000;

/// How much of the arrays of pointers below the auxiliary vector is looked at, in bytes.
const POINTERS: u64 = 64 << 10;

/// The longest path that the kernel takes (`PATH_MAX`).
const LONGEST_PATH: u64 = 4096;

/// Where it lies. Strings, and what cannot be found, may be absent from the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramStart {
    /// The random bytes, the names of the processor, and the program's path with its null.
    pub others: Vec<VirtRange>,
    /// From `argc` (or as far as the arrays were found) to the end of the auxiliary vector.
    pub tables: Option<VirtRange>,
    /// The strings of the arguments.
    pub arguments: Option<VirtRange>,
    /// Those of the environment.
    pub environment: Option<VirtRange>,
}

/// How the words of a process are laid out.
#[derive(Clone, Copy)]
struct Words {
    size: usize,
    endian: Endian,
}

impl Words {
    fn decode(self, bytes: &[u8]) -> u64 {
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let bytes = &bytes[..self.size];
        match self.endian {
            Endian::Little => bytes.iter().rev().fold(0, push),
            Endian::Big => bytes.iter().fold(0, push),
        }
    }

    fn read(self, memory: &dyn Memory, address: VirtAddr) -> Result<Option<u64>, Error> {
        let mut word = [0; 8];
        let there = memory.read(address, &mut word[..self.size])?;
        Ok((there == self.size).then(|| self.decode(&word)))
    }
}

impl ProgramStart {
    /// Finds it by `auxv`, a copy of the auxiliary vector, in words of `word_size` bytes (4 or 8).
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn find(memory: &dyn Memory, word_size: usize, endian: Endian, auxv: &[u8]) -> Result<Self, Error> {
        let size = if word_size == 4 { 4 } else { 8 };
        let words = Words { size, endian };
        let auxv = &auxv[..auxv.len().min(LONGEST_AUXV)];
        let pairs = || {
            auxv.chunks_exact(2 * size)
                .map(|pair| (words.decode(pair), words.decode(&pair[size..])))
        };
        let count = pairs().take_while(|(entry, _)| *entry != AuxvType::NULL.0).count();
        let vector = &auxv[..count * 2 * size];
        let value = |wanted: AuxvType| {
            let found = pairs().take(count).find(|(entry, _)| *entry == wanted.0);
            found.map(|(_, value)| VirtAddr(value)).filter(|value| value.0 != 0)
        };

        let mut start = Self::default();
        let random = value(AuxvType::RANDOM);
        start.others.extend(random.map(|random| VirtRange::sized(random, 16)));
        for name in [AuxvType::PLATFORM, AuxvType::BASE_PLATFORM] {
            if let Some(name) = value(name) {
                start.others.push(string(memory, name, 64)?);
            }
        }
        let path = value(AuxvType::EXECFN);
        if let Some(path) = path {
            start.others.push(string(memory, path, LONGEST_PATH)?);
        }
        let Some(random) = random.filter(|_| !vector.is_empty()) else {
            return Ok(start);
        };
        let Some(at) = last_place(memory, words, vector, random)? else {
            return Ok(start);
        };
        let pointers = Pointers::below(memory, words, at)?;
        let end_mark = 2 * size as u64;
        start.tables = Some(VirtRange::new(
            pointers.start,
            at.saturating_add(vector.len() as u64 + end_mark),
        ));
        let end = path.unwrap_or(VirtAddr(u64::MAX));
        // A program may have put its environment elsewhere since; what it was started with lies where it was.
        let environment = pointers.environment.filter(|first| *first < end).unwrap_or(end);
        let arguments = pointers.arguments.filter(|first| *first < environment);
        start.arguments = arguments.map(|first| VirtRange::new(first, environment));
        start.environment = (environment < end).then(|| VirtRange::new(environment, end));
        Ok(start)
    }
}

/// The addresses of a string up to its zero, which is looked for in `longest` bytes.
fn string(memory: &dyn Memory, at: VirtAddr, longest: u64) -> Result<VirtRange, Error> {
    let mut bytes = vec![0; usize::try_from(longest).unwrap_or(0)];
    let there = memory.read(at, &mut bytes)?;
    let end = bytes[..there]
        .iter()
        .position(|byte| *byte == 0)
        .map_or(there, |zero| zero + 1);
    Ok(VirtRange::sized(at, end as u64))
}

/// The last place of `bytes` below `end`, in whole words and not far away.
fn last_place(memory: &dyn Memory, words: Words, bytes: &[u8], end: VirtAddr) -> Result<Option<VirtAddr>, Error> {
    let area = VirtRange::new(end.saturating_sub(AUXV_SEARCH), end);
    let mut found = None;
    for extent in memory.extents(area) {
        let extent = extent?.range;
        let start = extent
            .start
            .saturating_add(words.size as u64 - 1)
            .align_down(words.size as u64);
        let mut held = vec![0; usize::try_from(extent.end.0.saturating_sub(start.0)).unwrap_or(0)];
        let there = memory.read(start, &mut held)?;
        let mut places = held[..there].windows(bytes.len()).step_by(words.size);
        if let Some(index) = places.rposition(|window| window == bytes) {
            found = Some(start.saturating_add((index * words.size) as u64));
        }
    }
    Ok(found)
}

/// The arrays of pointers below the auxiliary vector.
struct Pointers {
    /// Where they begin, as far as they were found: with `argc`.
    start: VirtAddr,
    /// The first argument.
    arguments: Option<VirtAddr>,
    /// The first string of the environment.
    environment: Option<VirtAddr>,
}

impl Pointers {
    /// Walks down from the auxiliary vector at `end`: over a null and the environment, a null and the arguments, to the
    /// number of these.
    fn below(memory: &dyn Memory, words: Words, end: VirtAddr) -> Result<Self, Error> {
        let mut found = Self {
            start: end,
            arguments: None,
            environment: None,
        };
        let mut nulls = 0;
        let (mut arguments, mut last) = (0_u64, None);
        let mut at = end;
        while end.0 - at.0 < POINTERS {
            at = at.saturating_sub(words.size as u64);
            let Some(word) = words.read(memory, at)? else { break };
            // The number of arguments stands below the first of them. It may be zero, above a null of no array.
            if nulls == 2 && word == arguments {
                found.start = at;
                found.arguments = last;
                break;
            }
            if word == 0 {
                if nulls == 1 {
                    found.environment = last;
                }
                nulls += 1;
                (arguments, last) = (0, None);
                if nulls > 2 {
                    break;
                }
            } else {
                arguments += 1;
                last = Some(VirtAddr(word));
            }
            found.start = at;
        }
        Ok(found)
    }
}
