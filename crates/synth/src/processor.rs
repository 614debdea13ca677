//! Processors: `KPCR`, `KPRCB`, their registers and descriptor tables.

use dotdump_format::kernel::Machine;
use dotdump_format::{PAGE_SIZE, VirtAddr};
use dotdump_snapshot::machine::SpecialRegisters;
use dotdump_snapshot::paging::PagingMode;

use crate::build::Build;
use crate::context::{EXTENDED_SIZE, Registers, context, extend};
use crate::error::BuildError;
use crate::kernel_memory::PoolKind;
use crate::truth::{ProcessTruth, ProcessorTruth};

const KERNEL_CS: u16 = 0x10;

impl Build<'_> {
    /// All processors. The first one stopped in the kernel; every other one of the rest ran a program.
    pub(crate) fn processors(&mut self, processes: &mut [ProcessTruth]) -> Result<Vec<ProcessorTruth>, BuildError> {
        let mut processors = Vec::new();
        for number in 0..self.options.processors {
            let processor = self.processor(number, processes)?;
            let entry = self.kernel.symbol("KiProcessorBlock") + u64::from(number) * self.world.pointer_size();
            self.world.pointer(entry, processor.prcb.0)?;
            processors.push(processor);
        }
        Ok(processors)
    }

    fn processor(&mut self, number: u32, processes: &mut [ProcessTruth]) -> Result<ProcessorTruth, BuildError> {
        let fields = self.profile.processor;
        let index = usize::try_from(number).unwrap_or(0);
        // A program that runs, where there is one that does not run already.
        let user = (index % 2 == 1).then(|| 1 + index / 2).filter(|process| {
            processes
                .get(*process)
                .is_some_and(|process| !process.threads.is_empty())
        });
        let idle = processes[0].threads[index].ethread.0;
        let (process, thread) = match user {
            Some(process) => (process, 0),
            None => (0, index),
        };
        let root = processes[process].process.directory_table_base.0;
        let shadow = processes[process].process.user_directory_table_base;
        let thread = &mut processes[process].threads[thread];
        self.run(thread)?;
        let (pc, sp) = match (user, thread.user_registers) {
            (Some(_), Some(registers)) => registers,
            (Some(_), None) => (
                self.world.places.user.libraries + 0x1014,
                thread.user_stack.end.0 - 0x200,
            ),
            (None, _) if number == 0 => (self.kernel.symbol("KeBugCheckEx"), thread.stack.end.0 - 0x300),
            (None, _) => (self.kernel.symbol("KiIdleLoop") + 4, thread.stack.end.0 - 0x300),
        };
        let registers = Registers {
            pc,
            sp,
            user: user.is_some(),
        };
        let ethread = thread.ethread;
        let root = if user.is_some() {
            shadow.map_or(root, |root| root.0)
        } else {
            root
        };

        let pcr = self
            .world
            .allocate_from(PoolKind::Nonpaged, fields.pcr_size, PAGE_SIZE)?;
        let prcb = pcr + fields.pcr_prcb;
        let (context_at, context) = self.saved_context(number, registers)?;
        let gdt = self.world.allocate_from(PoolKind::Nonpaged, PAGE_SIZE, PAGE_SIZE)?;
        let idt = self.world.allocate_from(PoolKind::Nonpaged, PAGE_SIZE, PAGE_SIZE)?;
        self.descriptor_tables(gdt, idt)?;
        let special = self.special_registers(root, gdt, idt, pcr);
        self.write_special_registers(prcb + fields.special_registers, &special)?;

        let arm64 = self.machine == Machine::Arm64;
        let world = &mut self.world;
        world.pointer(pcr + fields.pcr_self, pcr)?;
        world.pointer(pcr + fields.pcr_current_prcb, prcb)?;
        if number == 0 && !arm64 {
            world.pointer(pcr + fields.pcr_version_block, self.kernel.symbol("KdVersionBlock"))?;
        }
        match self.machine {
            Machine::Amd64 => {
                world.u64(pcr, gdt)?;
                world.u64(pcr + 0x38, idt)?;
                world.u32(prcb, 0x1F80)?; // MxCsr
            }
            Machine::X86 => {
                world.u32(pcr + 0x38, special_low(idt))?;
                world.u32(pcr + 0x3C, special_low(gdt))?;
            }
            Machine::Arm64 => {
                // Copies of TTBR0 and TTBR1 with an address space's number.
                world.u64(prcb + 0x108, special.cr3)?;
                world.u64(prcb + 0x110, special.ttbr1)?;
            }
        }
        world.pointer(prcb + fields.current_thread, ethread.0)?;
        world.pointer(prcb + fields.idle_thread, idle)?;
        world.u32(prcb + fields.number, number)?;
        world.u32(prcb + fields.mhz, 2400)?;
        world.u8(prcb + fields.cpu_type, 6)?;
        world.write(prcb + fields.vendor, b"GenuineIntel\0")?;
        world.pointer(prcb + fields.context, context_at)?;
        if self.options.shadow {
            // KernelDirectoryTableBase
            let root = world.root;
            world.u64(prcb + 0x7000, root)?;
        }
        Ok(ProcessorTruth {
            number,
            pcr: VirtAddr(pcr),
            prcb: VirtAddr(prcb),
            current_thread: ethread,
            context_address: VirtAddr(context_at),
            context,
            special_registers: special,
        })
    }

    /// The `CONTEXT` that the processor was frozen with, in the pool.
    fn saved_context(&mut self, number: u32, registers: Registers) -> Result<(u64, Vec<u8>), BuildError> {
        let mut bytes = context(self.machine, registers, &mut self.random);
        let room = if self.machine == Machine::Amd64 {
            EXTENDED_SIZE
        } else {
            bytes.len()
        };
        // Aligned to 16 and not to more, as the kernel has it.
        let at = self.world.allocate(room as u64 + 16)? + 16 * u64::from(number % 2);
        if self.machine == Machine::Amd64 {
            extend(&mut bytes, at, number % 2 == 1, &mut self.random);
        }
        self.world.write(at, &bytes)?;
        Ok((at, bytes))
    }

    fn special_registers(&self, root: u64, gdt: u64, idt: u64, pcr: u64) -> SpecialRegisters {
        const ASID: u64 = 0x40 << 48;
        let cr4 = match self.world.shape.mode {
            PagingMode::X86 => 0x6D0,
            PagingMode::Pae => 0x6F0,
            PagingMode::FourLevel => 0x35_0EF8,
            PagingMode::FiveLevel => 0x35_1EF8,
            PagingMode::Arm64 => 0,
        };
        match self.machine {
            Machine::Arm64 => SpecialRegisters {
                cr3: root | ASID,
                ttbr1: (root + 0x800) | ASID,
                ..SpecialRegisters::default()
            },
            Machine::Amd64 | Machine::X86 => SpecialRegisters {
                cr0: 0x8005_0031,
                cr2: self.world.places.user.image + 0x123,
                cr3: root,
                cr4,
                ttbr1: 0,
                idt_base: idt,
                gdt_base: gdt,
                kernel_gs_base: if self.machine == Machine::Amd64 { pcr } else { 0 },
            },
        }
    }

    fn write_special_registers(&mut self, at: u64, special: &SpecialRegisters) -> Result<(), BuildError> {
        let world = &mut self.world;
        match self.machine {
            Machine::Amd64 => {
                world.u64(at, special.cr0)?;
                world.u64(at + 0x08, special.cr2)?;
                world.u64(at + 0x10, special.cr3)?;
                world.u64(at + 0x18, special.cr4)?;
                world.u64(at + 0x48, 0x400)?; // Dr7
                world.u16(at + 0x56, 0x57)?;
                world.u64(at + 0x58, special.gdt_base)?;
                world.u16(at + 0x66, 0xFFF)?;
                world.u64(at + 0x68, special.idt_base)?;
                world.u16(at + 0x70, 0x40)?; // Tr
                world.u32(at + 0x74, 0x1F80)?;
                world.u64(at + 0xA8, special.kernel_gs_base)?;
                world.u64(at + 0xB0, special.kernel_gs_base)?;
                world.u64(at + 0xD8, 7)?; // Xcr0
            }
            Machine::X86 => {
                for (offset, value) in [
                    (0x00, special.cr0),
                    (0x04, special.cr2),
                    (0x08, special.cr3),
                    (0x0C, special.cr4),
                ] {
                    world.u32(at + offset, special_low(value))?;
                }
                world.u16(at + 0x2A, 0x3FF)?;
                world.u32(at + 0x2C, special_low(special.gdt_base))?;
                world.u16(at + 0x32, 0x7FF)?;
                world.u32(at + 0x34, special_low(special.idt_base))?;
            }
            // Nothing of them is public but the copies of the roots.
            Machine::Arm64 => {}
        }
        Ok(())
    }

    /// Descriptors of flat segments, and gates that lead into the kernel's code.
    fn descriptor_tables(&mut self, gdt: u64, idt: u64) -> Result<(), BuildError> {
        let handlers = self.kernel.symbol("KiDivideErrorFault");
        match self.machine {
            Machine::Amd64 => {
                for (offset, descriptor) in [
                    (0x10, 0x0020_9B00_0000_0000_u64),
                    (0x18, 0x00CF_9300_0000_FFFF),
                    (0x28, 0x00CF_F300_0000_FFFF),
                    (0x30, 0x0020_FB00_0000_0000),
                ] {
                    self.world.u64(gdt + offset, descriptor)?;
                }
                for vector in 0..256 {
                    let [a, b, c, d, high @ ..] = (handlers + 16 * u64::min(vector, 31)).to_le_bytes();
                    let [cs, cs_high] = KERNEL_CS.to_le_bytes();
                    let mut gate = vec![a, b, cs, cs_high, 0, 0x8E, c, d];
                    gate.extend_from_slice(&high);
                    self.world.write(idt + 16 * vector, &gate)?;
                }
            }
            Machine::X86 => {
                for (offset, descriptor) in [
                    (0x08, 0x00CF_9B00_0000_FFFF_u64),
                    (0x10, 0x00CF_9300_0000_FFFF),
                    (0x18, 0x00CF_FB00_0000_FFFF),
                    (0x20, 0x00CF_F300_0000_FFFF),
                ] {
                    self.world.u64(gdt + offset, descriptor)?;
                }
                for vector in 0..256 {
                    let [a, b, c, d, ..] = (handlers + 16 * u64::min(vector, 31)).to_le_bytes();
                    self.world.write(idt + 8 * vector, &[a, b, 0x08, 0, 0, 0x8E, c, d])?;
                }
            }
            Machine::Arm64 => {}
        }
        Ok(())
    }
}

/// The lower half of a number, as 32-bit machines store it.
fn special_low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}
