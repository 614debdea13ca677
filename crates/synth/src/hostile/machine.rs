//! Machines whose tables, lists and blocks lead astray.

use super::change::{ADDRESS_FIELDS, Change, Nowhere, OFFSET_FIELDS, Tables};
use crate::error::BuildError;
use crate::machine::SynthMachine;
use crate::random::Random;

/// What is wrong with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostileMachine {
    /// Entries of page tables lead to tables above them.
    CyclicTables,
    /// Every entry of the kernel's root leads to the root.
    SelfPointingRoot,
    /// Entries of page tables lead to addresses where there is no memory.
    TablesOutside,
    /// Page tables hold random numbers.
    RandomTables,
    /// The list of modules becomes a ring that its head is not in.
    EndlessModules,
    /// The list of modules leads to an address that is not mapped.
    ModulesNowhere,
    /// Names of modules are of the greatest length and lie anywhere.
    WildModuleNames,
    /// The list of processes becomes a ring that its head is not in.
    EndlessProcesses,
    /// The list of processes leads into user mode's half.
    ProcessesNowhere,
    /// A process is the next one of itself.
    ProcessNextToItself,
    /// Roots of processes are no page tables.
    WildProcessRoots,
    /// The list of a process's threads becomes a ring that its head is not in.
    EndlessThreads,
    /// The index of the next unloaded driver is as large as can be.
    UnloadedIndex,
    /// Names and addresses of unloaded drivers are random.
    WildUnloaded,
    /// `KDDEBUGGER_DATA64` says that it is as large as can be.
    DebuggerDataSize,
    /// Offsets and sizes in `KDDEBUGGER_DATA64` are as large as can be.
    DebuggerDataOffsets,
    /// Addresses in `KDDEBUGGER_DATA64` are random.
    DebuggerDataAddresses,
    /// The processors' `KPRCB` lie anywhere.
    WildProcessors,
    /// The kernel's list of runs of memory says that it is as long as can be.
    MemoryBlockCount,
    /// The PFN database's entries are random.
    RandomPfnDatabase,
    /// The ranges for small dumps are huge, reversed, and as many as can be.
    WildTriageBlocks,
    /// Headers of images say that everything is as large as can be.
    WildImages,
    /// The loaders' lists of processes become rings, and their environment blocks random.
    WildLoaders,
}

impl HostileMachine {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::CyclicTables,
        Self::SelfPointingRoot,
        Self::TablesOutside,
        Self::RandomTables,
        Self::EndlessModules,
        Self::ModulesNowhere,
        Self::WildModuleNames,
        Self::EndlessProcesses,
        Self::ProcessesNowhere,
        Self::ProcessNextToItself,
        Self::WildProcessRoots,
        Self::EndlessThreads,
        Self::UnloadedIndex,
        Self::WildUnloaded,
        Self::DebuggerDataSize,
        Self::DebuggerDataOffsets,
        Self::DebuggerDataAddresses,
        Self::WildProcessors,
        Self::MemoryBlockCount,
        Self::RandomPfnDatabase,
        Self::WildTriageBlocks,
        Self::WildImages,
        Self::WildLoaders,
    ];

    /// Changes a machine.
    ///
    /// # Errors
    /// [`BuildError`] where the machine lacks what is to be changed.
    pub fn apply(self, machine: &mut SynthMachine, seed: u64) -> Result<(), BuildError> {
        let mut change = Change {
            pointer: machine.machine().pointer_size(),
            random: Random::new(seed),
            machine,
        };
        match self {
            Self::CyclicTables => change.tables(Tables::Cyclic),
            Self::TablesOutside => change.tables(Tables::Outside),
            Self::RandomTables => change.tables(Tables::Random),
            Self::SelfPointingRoot => change.self_pointing_root(),
            Self::EndlessModules => change.ring("PsLoadedModuleList"),
            Self::ModulesNowhere => change.nowhere("PsLoadedModuleList", Nowhere::Unmapped),
            Self::WildModuleNames => change.module_names(),
            Self::EndlessProcesses => change.ring("PsActiveProcessHead"),
            Self::ProcessesNowhere => change.nowhere("PsActiveProcessHead", Nowhere::User),
            Self::ProcessNextToItself => change.next_to_itself(),
            Self::WildProcessRoots => change.process_roots(),
            Self::EndlessThreads => change.threads(),
            Self::UnloadedIndex => change.fill_symbol("MmLastUnloadedDriver", &[0xFF; 4]),
            Self::WildUnloaded => change.unloaded(),
            Self::DebuggerDataSize => change.debugger_data(&[(0x14, 4)], false),
            Self::DebuggerDataOffsets => change.debugger_data(&OFFSET_FIELDS, false),
            Self::DebuggerDataAddresses => change.debugger_data(&ADDRESS_FIELDS, true),
            Self::WildProcessors => change.processors(),
            Self::MemoryBlockCount => change.memory_block(),
            Self::RandomPfnDatabase => change.pfn_database(),
            Self::WildTriageBlocks => change.triage_blocks(),
            Self::WildImages => change.images(),
            Self::WildLoaders => change.loaders(),
        }
    }
}
