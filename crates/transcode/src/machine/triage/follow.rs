//! Memory that pointers lead to.

use std::collections::HashMap;

use dotdump_format::{Error, VirtAddr, VirtRange};

use super::blocks::Blocks;
use super::reason::Reason;
use super::target::Target;

/// How much is stored from where a pointer points, in bytes.
pub(super) const WINDOW: usize = 256;

/// How many different pointers are looked at. What one stack leads to has some ten thousand.
const MOST_POINTERS: usize = 1 << 18;

/// Adds what the pointers in `source` lead to, over so many levels: 256 bytes from each exact address on, and before the next
/// pointer of the source what the pointers in these bytes lead to. So does Windows, in this order.
pub(super) fn follow(target: &Target<'_>, blocks: &mut Blocks<'_>, source: &[u8], levels: u8) -> Result<(), Error> {
    let mut walk = Walk {
        target,
        blocks,
        depth: levels,
        done: HashMap::new(),
    };
    walk.words_of(source, levels)
}

struct Walk<'w, 'a, 'b> {
    target: &'w Target<'a>,
    blocks: &'w mut Blocks<'b>,
    depth: u8,
    /// For each pointer how many levels below it were done: to do them again would add nothing.
    done: HashMap<VirtAddr, u8>,
}

impl Walk<'_, '_, '_> {
    fn words_of(&mut self, source: &[u8], levels: u8) -> Result<(), Error> {
        let target = self.target;
        for pointer in target.words(source) {
            if target.is_kernel(pointer) {
                self.pointer(pointer, levels)?;
            }
        }
        Ok(())
    }

    fn pointer(&mut self, pointer: VirtAddr, levels: u8) -> Result<(), Error> {
        if self.done.get(&pointer).is_some_and(|done| *done >= levels) {
            return Ok(());
        }
        if self.done.len() >= MOST_POINTERS {
            self.blocks.is_cut = true;
            return Ok(());
        }
        let mut window = [0; WINDOW];
        let there = self.target.memory.read(pointer, &mut window)?;
        if there == 0 {
            self.done.insert(pointer, u8::MAX);
            return Ok(());
        }
        let reason = match self.depth - levels {
            0 => Reason::Pointer,
            1 => Reason::SecondPointer,
            _ => Reason::ThirdPointer,
        };
        self.blocks.add_present(reason, VirtRange::sized(pointer, there as u64));
        if levels > 1 {
            self.words_of(&window[..there], levels - 1)?;
        }
        // Only now: on the way down the same pointer may come again, and what it leads to then belongs there.
        self.done.insert(pointer, levels);
        Ok(())
    }
}
