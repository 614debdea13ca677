//! Damage to files with the memory of machines, the same every time for the same number.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::damage::{EXTREMES, Random};

const PAGE: usize = 0x1000;
/// As many places of a kind are remembered of a file.
const MOST: usize = 4096;

/// Where in a file the things are that lead readers on.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Pages that look like tables of pages.
    tables: Vec<usize>,
    /// Words that look like addresses of the kernel, or the low half of one.
    pointers: Vec<usize>,
    /// `KDDEBUGGER_DATA64`.
    blocks: Vec<usize>,
}

impl Places {
    /// Looks for them. The file is read page by page: what this program takes counts as memory of those that it starts.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let mut found = Self::default();
        let size = length(file)?;
        let mut page = [0; PAGE];
        for start in (0..size.saturating_sub(PAGE - 1)).step_by(PAGE) {
            file.read_exact_at(&mut page, start as u64)?;
            if found.tables.len() < MOST && is_table(&page) {
                found.tables.push(start);
            }
            for (index, word) in page.chunks_exact(8).enumerate() {
                found.look_at(start + 8 * index, word);
            }
        }
        Ok(found)
    }

    fn look_at(&mut self, at: usize, word: &[u8]) {
        let value = number(word);
        let is_address = value >> 47 == 0x1_FFFF || value >> 63 == 0 && value >> 31 & 1 == 1 && value >> 32 != 0;
        if is_address && value != u64::MAX {
            // All parts of a large file have their turn.
            if self.pointers.len() < MOST {
                self.pointers.push(at);
            } else if let Some(pointer) = self.pointers.get_mut(Random(value ^ at as u64).below(at / 8)) {
                *pointer = at;
            }
        }
        if word.starts_with(b"KDBG") {
            self.blocks.push(at.saturating_sub(0x10));
        }
    }
}

fn number(word: &[u8]) -> u64 {
    u64::from_le_bytes(word.try_into().unwrap_or_default())
}

fn length(file: &File) -> io::Result<usize> {
    Ok(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX))
}

/// Entries of a table are zero, or present and lead to low addresses.
fn is_table(page: &[u8]) -> bool {
    let words = || page.chunks_exact(8).map(number);
    words().any(|word| word != 0) && words().all(|word| word == 0 || word & 1 == 1 && word >> 40 & 0x7FF == 0)
}

/// Damages a file in one to four places: the end is cut off, bytes anywhere change, fields of headers and of
/// `KDDEBUGGER_DATA64` get extreme values, entries of page tables lead to themselves, in circles or outside, and
/// addresses of the kernel lead elsewhere.
///
/// # Errors
/// Where it cannot be read or written.
pub fn damage_machine(file: &File, places: &Places, random: &mut Random) -> io::Result<()> {
    for _ in 0..=random.below(4) {
        let size = length(file)?;
        match random.below(16) {
            0 => file.set_len(random.below(size + 1) as u64)?,
            // The headers are where a cut leaves the least.
            1 => file.set_len(random.below(size.min(0x4000) + 1) as u64)?,
            2 => flip(file, random.below(size), random)?,
            3 | 4 => flip(file, random.below(size.min(0x3000)), random)?,
            5..=7 => extreme(file, 4 * random.below(0x400), random)?,
            // What follows the header of a page, or of two.
            8 | 9 => {
                let within = [16, 64, 512][random.below(3)];
                extreme(file, PAGE * (1 + random.below(2)) + 4 * random.below(within), random)?;
            }
            10 => {
                if let Some(block) = pick(&places.blocks, random) {
                    extreme(file, block + 4 * random.below(0x380 / 4), random)?;
                }
            }
            11..=13 => table_entries(file, places, random)?,
            _ => {
                if let Some(at) = pick(&places.pointers, random) {
                    match pick(&places.pointers, random).filter(|_| random.below(2) == 0) {
                        Some(other) => put(file, at, &read(file, other)?.to_le_bytes())?,
                        None => extreme(file, at, random)?,
                    }
                }
            }
        }
    }
    Ok(())
}

fn pick(places: &[usize], random: &mut Random) -> Option<usize> {
    places.get(random.below(places.len())).copied()
}

/// A word; 0 where the file has been cut off before it.
fn read(file: &File, at: usize) -> io::Result<u64> {
    let mut word = [0; 8];
    match file.read_exact_at(&mut word, at as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        result => result.map(|()| number(&word)),
    }
}

/// Changes what is there; a file does not grow by it.
fn put(file: &File, at: usize, bytes: &[u8]) -> io::Result<()> {
    if at + bytes.len() <= length(file)? {
        file.write_all_at(bytes, at as u64)?;
    }
    Ok(())
}

fn flip(file: &File, at: usize, random: &mut Random) -> io::Result<()> {
    let change = u8::try_from(1 + random.below(255)).unwrap_or(1);
    let byte = read(file, at)?.to_le_bytes()[0];
    put(file, at, &[byte ^ change])
}

fn extreme(file: &File, at: usize, random: &mut Random) -> io::Result<()> {
    let value = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
    let width = if random.below(4) == 0 { 8 } else { 4 };
    put(file, at, &value[..width])
}

/// Changes entries of a table: one, some in a row, or all of them alike.
fn table_entries(file: &File, places: &Places, random: &mut Random) -> io::Result<()> {
    let (Some(table), Some(other)) = (pick(&places.tables, random), pick(&places.tables, random)) else {
        return Ok(());
    };
    let used = |table: usize| -> io::Result<Vec<(usize, u64)>> {
        let mut entries = Vec::new();
        for at in (table..table + PAGE).step_by(8) {
            entries.push((at, read(file, at)?));
        }
        entries.retain(|(_, entry)| *entry != 0);
        Ok(entries)
    };
    let (here, there) = (used(table)?, used(other)?);
    let (Some((at, _)), Some((_, entry))) = (here.get(random.below(here.len())), there.get(random.below(there.len())))
    else {
        return Ok(());
    };
    let value = match random.below(5) {
        // A table of another level, or the same one again.
        0 | 1 => *entry,
        // A large page.
        2 => entry | 0x80,
        3 => entry & 0xFFF | random.next() & 0x000F_FFFF_FFFF_F000,
        _ => random.next(),
    };
    let (at, many) = [(*at, 1), (*at, 1), (*at, 16), (table, PAGE / 8)][random.below(4)];
    for slot in (at..(at + 8 * many).min(table + PAGE)).step_by(8) {
        put(file, slot, &value.to_le_bytes())?;
    }
    Ok(())
}
