//! What debuggers need and the source has otherwise.

use dotdump_format::{FileOffset, PAGE_SIZE, VirtAddr};

use super::MachineImage;
use crate::machine::{MachineSnapshot, Patch};

impl MachineImage<'_> {
    pub(super) fn make_patches(&self) -> Vec<Patch> {
        let mut patches = Vec::new();
        if let Some(found) = self.debugger_data().filter(|found| found.encoded) {
            self.patch(
                &mut patches,
                found.address,
                found.data.as_bytes(),
                "KdDebuggerDataBlock",
            );
            match found.flag {
                Some(flag) => self.patch(&mut patches, flag, &[0], "KdpDataBlockEncoded"),
                None => self.findings.borrow_mut().add(
                    FileOffset(0),
                    "KdpDataBlockEncoded",
                    "not found: debuggers may decode the block once more, although it is plain".to_owned(),
                ),
            }
        }
        if !self.source.cpus().is_empty() {
            for processor in self.processors() {
                if let Some(context) = &processor.context
                    && let Some(address) = context.address
                {
                    self.patch(&mut patches, address, &context.bytes, "CONTEXT");
                }
            }
        }
        patches
    }

    /// Adds the patches that put `bytes` at a virtual address: one for each page.
    pub(super) fn patch(&self, patches: &mut Vec<Patch>, address: VirtAddr, bytes: &[u8], what: &'static str) {
        let Some(space) = self.kernel_space() else { return };
        let mut at = address;
        let mut left = bytes;
        while !left.is_empty() {
            let in_page = usize::try_from(PAGE_SIZE - at.0 % PAGE_SIZE).unwrap_or(left.len());
            let (piece, rest) = left.split_at(in_page.min(left.len()));
            match space.translate(at) {
                Ok(Ok(translation)) => patches.push(Patch {
                    address: translation.address,
                    bytes: piece.to_vec(),
                    what,
                }),
                Ok(Err(failure)) => {
                    let message = format!("cannot be put at {at}: {failure}");
                    self.findings.borrow_mut().add(FileOffset(0), what, message);
                }
                Err(error) => self.note(error, what),
            }
            left = rest;
            at = at.saturating_add(piece.len() as u64);
        }
    }
}
