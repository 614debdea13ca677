//! Threads: `ETHREAD`, kernel stack and trap frame.

use dotdump_format::{PAGE_SIZE, VirtAddr, VirtRange};

use crate::build::Build;
use crate::context::{Registers, trap_frame};
use crate::error::BuildError;
use crate::kernel_memory::PoolKind;
use crate::truth::ThreadTruth;

/// `Waiting` of `KTHREAD_STATE`.
const WAITING: u8 = 5;

/// Where a thread is in user mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserThread {
    pub(crate) teb: u64,
    pub(crate) stack: VirtRange,
    pub(crate) pc: u64,
    pub(crate) sp: u64,
}

impl Build<'_> {
    /// A thread that waits, with its stack.
    pub(crate) fn thread(
        &mut self,
        eprocess: u64,
        process: u64,
        id: u64,
        start: u64,
        user: Option<UserThread>,
    ) -> Result<ThreadTruth, BuildError> {
        let fields = self.profile.thread;
        let size = if self.world.shape.is_32() { 0x3000 } else { 0x6000 };
        let ethread = self.world.allocate(fields.size)?;
        let limit = self.world.allocate_from(PoolKind::Stacks, size, PAGE_SIZE)?;
        self.world.skip_page(PoolKind::Stacks);
        let base = limit + size;
        let mut initial = base;
        let mut frame_at = None;
        if let Some(user) = user {
            let registers = Registers {
                pc: user.pc,
                sp: user.sp,
                user: true,
            };
            if let Some(frame) = trap_frame(self.machine, registers, &mut self.random) {
                let at = (base - frame.len() as u64) & !15;
                self.world.write(at, &frame)?;
                initial = at;
                frame_at = Some(at);
            }
        }
        let saved = (initial - 0x300) & !15;
        self.stack_words(saved, initial)?;

        let world = &mut self.world;
        let (list, pointer) = (ethread + 8, world.pointer_size());
        world.write(ethread, &[6, 0, 0, 0])?; // DISPATCHER_HEADER of a thread
        world.link(list, &[])?;
        world.pointer(ethread + fields.initial_stack, base)?;
        world.pointer(ethread + fields.stack_limit, limit)?;
        world.pointer(ethread + fields.stack_base, base)?;
        world.pointer(ethread + fields.kernel_stack, saved)?;
        world.pointer(ethread + fields.trap_frame, frame_at.unwrap_or(0))?;
        world.pointer(ethread + fields.apc_process, eprocess)?;
        world.pointer(ethread + fields.process, eprocess)?;
        world.pointer(ethread + fields.teb, user.map_or(0, |user| user.teb))?;
        world.u8(ethread + fields.state, WAITING)?;
        world.u8(ethread + fields.wait_reason, 6)?; // UserRequest
        world.u64(ethread + fields.create_time, self.time + id)?;
        world.pointer(ethread + fields.start_address, start)?;
        world.pointer(ethread + fields.win32_start_address, start)?;
        world.pointer(ethread + fields.client_id, process)?;
        world.pointer(ethread + fields.client_id + pointer, id)?;
        world.link(ethread + fields.irp_list, &[])?;
        Ok(ThreadTruth {
            ethread: VirtAddr(ethread),
            id,
            process,
            stack: VirtRange::new(VirtAddr(limit), VirtAddr(base)),
            kernel_stack: VirtAddr(saved),
            trap_frame: frame_at.map(VirtAddr),
            user_registers: frame_at.and(user).map(|user| (user.pc, user.sp)),
            teb: VirtAddr(user.map_or(0, |user| user.teb)),
            user_stack: user.map_or_else(VirtRange::default, |user| user.stack),
            start_address: VirtAddr(start),
            state: WAITING,
        })
    }

    /// Return addresses among other words.
    fn stack_words(&mut self, from: u64, to: u64) -> Result<(), BuildError> {
        let code = self.kernel.symbol("KiIdleLoop");
        let step = self.world.pointer_size();
        let mut words = Vec::new();
        for index in 0..(to - from) / step {
            let shift = [0, 8, 16, 40][usize::try_from(self.random.below(4)).unwrap_or(0)];
            let word = if index % 5 == 0 {
                code + 0x40 + index
            } else {
                self.random.bits() >> shift
            };
            words.extend_from_slice(&word.to_le_bytes()[..if step == 4 { 4 } else { 8 }]);
        }
        self.world.write(from, &words)
    }

    /// Marks a thread as the one that runs on a processor.
    pub(crate) fn run(&mut self, thread: &mut ThreadTruth) -> Result<(), BuildError> {
        thread.state = 2;
        self.world.u8(thread.ethread.0 + self.profile.thread.state, 2)
    }
}
