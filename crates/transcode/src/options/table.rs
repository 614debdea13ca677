//! The table of dump options. Parsing, help texts, the manual page, completions and the documentation are all
//! made from it; nothing else in the project spells an option.

use dotdump_format::minidump::MiniDumpType;

use super::debug_format::DebugFormat;

/// One letter that may follow `-m`.
#[derive(Debug, Clone, Copy)]
pub struct MiniOption {
    /// The letter. Case matters.
    pub letter: char,
    /// A name for reports, such as `full-memory`.
    pub name: &'static str,
    /// What it adds or changes, for people.
    pub about: &'static str,
    /// What a source must have for it.
    pub needs: &'static str,
    /// What the debugger's interface calls it; several bits for a letter that stands for others.
    pub format: DebugFormat,
    /// What the header of the dump says about it.
    pub mini_dump_type: MiniDumpType,
    /// The letters that it stands for, where it is a shorthand; empty otherwise. What a shorthand means
    /// beyond them is in its bits.
    pub expansion: &'static str,
}

/// What may follow an option of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// Any of the letters of [`MINI_OPTIONS`], in the same word.
    MiniLetters,
    /// Any of these letters, in the same word.
    Letters(&'static str),
    /// The next word; the text names it in help texts.
    Text(&'static str),
    /// The next word: an address in the target, in hexadecimal.
    Address,
    /// The next word: a thread's id.
    Thread,
}

/// One option of the command line.
#[derive(Debug, Clone, Copy)]
pub struct DumpOption {
    /// What follows `-` or `/`, as in WinDbg. Case matters.
    pub short: &'static str,
    /// What follows `--`.
    pub long: &'static str,
    /// What may follow.
    pub argument: Argument,
    /// What it does, for people.
    pub about: &'static str,
    /// What a source must have for it.
    pub needs: &'static str,
    /// Why it is refused for the dump of a process, where it is.
    pub refused_for_user: Option<&'static str>,
}

/// The options of the command line, in the order in which they are documented.
pub const DUMP_OPTIONS: &[DumpOption] = &[
    DumpOption {
        short: "m",
        long: "mini",
        argument: Argument::MiniLetters,
        about: "Write a small dump; the default. Of a process a minidump, to which letters add; of a machine a small \
                (triage) memory dump, which takes no letters",
        needs: "stack memory of at least one thread; of a machine, its kernel's memory",
        refused_for_user: None,
    },
    DumpOption {
        short: "f",
        long: "full",
        argument: Argument::Letters("y"),
        about: "Write a complete memory dump of a machine (of a process -ma does it); y: with extended processor state",
        needs: "the pages of a machine",
        refused_for_user: Some(
            "a complete memory dump can only be made of a whole machine; for a process use -ma \
             (everything that a minidump can hold)",
        ),
    },
    DumpOption {
        short: "k",
        long: "kernel",
        argument: Argument::None,
        about: "Write a dump of the kernel's memory: of a machine only",
        needs: "the pages of a machine, and the page tables that lead to them",
        refused_for_user: Some(
            "a kernel memory dump can only be made of a whole machine, and this is a process: it has no kernel memory",
        ),
    },
    DumpOption {
        short: "ka",
        long: "kernel-active",
        argument: Argument::None,
        about: "Write a dump of the memory in use, by the kernel and by processes: of a machine only",
        needs: "the pages of a machine, and its page frame database",
        refused_for_user: Some(
            "a dump of active memory can only be made of a whole machine; for a process use -ma \
             (everything that a minidump can hold)",
        ),
    },
    DumpOption {
        short: "o",
        long: "overwrite",
        argument: Argument::None,
        about: "Replace the output file if it exists",
        needs: "",
        refused_for_user: None,
    },
    DumpOption {
        short: "u",
        long: "unique",
        argument: Argument::None,
        about: "Append date, time and process id to the output file's name",
        needs: "",
        refused_for_user: None,
    },
    DumpOption {
        short: "a",
        long: "all-processes",
        argument: Argument::None,
        about: "Capture every process, each to a file of its own; needs -u",
        needs: "",
        refused_for_user: None,
    },
    DumpOption {
        short: "c",
        long: "comment",
        argument: Argument::Text("TEXT"),
        about: "Store a comment in the dump, in place of those of the source",
        needs: "",
        refused_for_user: None,
    },
    DumpOption {
        short: "j",
        long: "jit-debug-info",
        argument: Argument::Address,
        about: "Store the exception that the JIT_DEBUG_INFO at this address of a Windows process tells of",
        needs: "memory at the address, and at those that it leads to",
        refused_for_user: None,
    },
    DumpOption {
        short: "xc",
        long: "context",
        argument: Argument::Address,
        about: "Store the registers at this address with the exception: a CONTEXT, of a Linux process a ucontext_t",
        needs: "memory at the address",
        refused_for_user: None,
    },
    DumpOption {
        short: "xr",
        long: "exception-record",
        argument: Argument::Address,
        about: "Store the exception at this address: an EXCEPTION_RECORD, of a Linux process a siginfo_t",
        needs: "memory at the address",
        refused_for_user: None,
    },
    DumpOption {
        short: "xp",
        long: "exception-pointers",
        argument: Argument::Address,
        about: "Store the exception that the EXCEPTION_POINTERS at this address of a Windows process lead to",
        needs: "memory at the address, and at those that it leads to",
        refused_for_user: None,
    },
    DumpOption {
        short: "xt",
        long: "exception-thread",
        argument: Argument::Thread,
        about: "The thread that the exception belongs to",
        needs: "that thread",
        refused_for_user: None,
    },
];

/// The letters that may follow `-m`, in the order in which they are documented and spelled.
pub const MINI_OPTIONS: &[MiniOption] = &[
    MiniOption {
        letter: 'a',
        name: "all",
        about: "Everything: the same as fFhut. Memory that the source should have but has not is an error",
        needs: "full memory; what it lacks of the rest is a warning",
        format: FULL_FORMAT,
        mini_dump_type: FULL_TYPE,
        expansion: "fFhut",
    },
    MiniOption {
        letter: 'A',
        name: "all-readable",
        about: "The same as a, but memory that cannot be had is skipped",
        needs: "what a needs, or as much of it as there is",
        format: FULL_FORMAT.union(DebugFormat::IGNORE_INACCESSIBLE_MEM),
        mini_dump_type: FULL_TYPE.union(MiniDumpType::IGNORE_INACCESSIBLE_MEMORY),
        expansion: "fFhut",
    },
    MiniOption {
        letter: 'f',
        name: "full-memory",
        about: "All memory of the process",
        needs: "full memory",
        format: DebugFormat::FULL_MEMORY,
        mini_dump_type: MiniDumpType::WITH_FULL_MEMORY,
        expansion: "",
    },
    MiniOption {
        letter: 'F',
        name: "full-memory-info",
        about: "The map of the address space: state, protection and type of each region",
        needs: "a MemoryInfoList stream, or Linux maps",
        format: DebugFormat::FULL_MEMORY_INFO,
        mini_dump_type: MiniDumpType::WITH_FULL_MEMORY_INFO,
        expansion: "",
    },
    MiniOption {
        letter: 'h',
        name: "handles",
        about: "The handles of the process",
        needs: "a HandleData stream",
        format: DebugFormat::HANDLE_DATA,
        mini_dump_type: MiniDumpType::WITH_HANDLE_DATA,
        expansion: "",
    },
    MiniOption {
        letter: 'u',
        name: "unloaded-modules",
        about: "The modules that were unloaded before",
        needs: "an UnloadedModuleList stream",
        format: DebugFormat::UNLOADED_MODULES,
        mini_dump_type: MiniDumpType::WITH_UNLOADED_MODULES,
        expansion: "",
    },
    MiniOption {
        letter: 't',
        name: "thread-info",
        about: "Times, start address and affinity of each thread",
        needs: "a ThreadInfoList stream",
        format: DebugFormat::THREAD_INFO,
        mini_dump_type: MiniDumpType::WITH_THREAD_INFO,
        expansion: "",
    },
    MiniOption {
        letter: 'i',
        name: "indirect-memory",
        about: "Memory that words on stacks point to: 256 bytes before and 768 after each such address",
        needs: "stacks and the memory that they point to",
        format: DebugFormat::INDIRECT_MEMORY,
        mini_dump_type: MiniDumpType::WITH_INDIRECTLY_REFERENCED_MEMORY,
        expansion: "",
    },
    MiniOption {
        letter: 'p',
        name: "process-thread-data",
        about: "Process and thread environment blocks, and what they lead to",
        needs: "memory at the thread environment blocks",
        format: DebugFormat::PROCESS_THREAD_DATA,
        mini_dump_type: MiniDumpType::WITH_PROCESS_THREAD_DATA,
        expansion: "",
    },
    MiniOption {
        letter: 'w',
        name: "private-read-write-memory",
        about: "Private pages that can be read and written, heaps among them",
        needs: "the map of the address space, and that memory",
        format: DebugFormat::PRIVATE_READ_WRITE_MEMORY,
        mini_dump_type: MiniDumpType::WITH_PRIVATE_READ_WRITE_MEMORY,
        expansion: "",
    },
    MiniOption {
        letter: 'd',
        name: "data-segments",
        about: "Writable sections of all modules: their global variables",
        needs: "memory of the modules with their headers, or headers from --image-path",
        format: DebugFormat::DATA_SEGMENTS,
        mini_dump_type: MiniDumpType::WITH_DATA_SEGS,
        expansion: "",
    },
    MiniOption {
        letter: 'c',
        name: "code-segments",
        about: "Code sections of all modules",
        needs: "memory of the modules with their headers, or images from --image-path",
        format: DebugFormat::CODE_SEGMENTS,
        mini_dump_type: MiniDumpType::WITH_CODE_SEGS,
        expansion: "",
    },
    MiniOption {
        letter: 'r',
        name: "filter-memory",
        about: "Set stack memory to zero but for what a stack walk needs. Not together with f",
        needs: "",
        format: DebugFormat::FILTER_MEMORY,
        mini_dump_type: MiniDumpType::FILTER_MEMORY,
        expansion: "",
    },
    MiniOption {
        letter: 'R',
        name: "filter-paths",
        about: "Cut module names down to the file's name: paths may name people",
        needs: "",
        format: DebugFormat::FILTER_PATHS,
        mini_dump_type: MiniDumpType::FILTER_MODULE_PATHS,
        expansion: "",
    },
    MiniOption {
        letter: 'y',
        name: "avx-state",
        about: "Extended processor state (AVX and later) in the contexts",
        needs: "contexts with that state",
        format: DebugFormat::ADD_AVX_XSTATE_CONTEXT,
        mini_dump_type: MiniDumpType::WITH_AVX_XSTATE_CONTEXT,
        expansion: "",
    },
];

const FULL_FORMAT: DebugFormat = DebugFormat::FULL_MEMORY
    .union(DebugFormat::FULL_MEMORY_INFO)
    .union(DebugFormat::HANDLE_DATA)
    .union(DebugFormat::UNLOADED_MODULES)
    .union(DebugFormat::THREAD_INFO);

const FULL_TYPE: MiniDumpType = MiniDumpType::WITH_FULL_MEMORY
    .union(MiniDumpType::WITH_FULL_MEMORY_INFO)
    .union(MiniDumpType::WITH_HANDLE_DATA)
    .union(MiniDumpType::WITH_UNLOADED_MODULES)
    .union(MiniDumpType::WITH_THREAD_INFO);

/// The letters after `-m`, in the order of the table.
#[must_use]
pub fn mini_letters() -> String {
    MINI_OPTIONS.iter().map(|option| option.letter).collect()
}

/// The entry of a letter after `-m`.
#[must_use]
pub fn mini_option(letter: char) -> Option<&'static MiniOption> {
    MINI_OPTIONS.iter().find(|option| option.letter == letter)
}

impl Argument {
    /// Whether `letter` may stand in the same word as the option.
    #[must_use]
    pub fn takes_letter(self, letter: char) -> bool {
        match self {
            Self::None | Self::Text(_) | Self::Address | Self::Thread => false,
            Self::MiniLetters => mini_option(letter).is_some(),
            Self::Letters(letters) => letters.contains(letter),
        }
    }

    /// What help texts call the next word, where that belongs to the option.
    #[must_use]
    pub const fn next_word(self) -> Option<&'static str> {
        match self {
            Self::None | Self::MiniLetters | Self::Letters(_) => None,
            Self::Text(name) => Some(name),
            Self::Address => Some("ADDR"),
            Self::Thread => Some("TID"),
        }
    }
}

impl DumpOption {
    /// How the option is written in texts: `-m[aAfF…]`, `-f[y]`, `-o`, `-c TEXT`.
    #[must_use]
    pub fn usage(&self) -> String {
        match self.argument {
            Argument::MiniLetters => format!("-{}[{}]", self.short, mini_letters()),
            Argument::Letters(letters) => format!("-{}[{letters}]", self.short),
            other => match other.next_word() {
                Some(word) => format!("-{} {word}", self.short),
                None => format!("-{}", self.short),
            },
        }
    }

    /// How the option is written with its long name: `--mini[=LETTERS]`, `--overwrite`, `--comment TEXT`.
    #[must_use]
    pub fn long_usage(&self) -> String {
        match self.argument {
            Argument::MiniLetters | Argument::Letters(_) => format!("--{}[=LETTERS]", self.long),
            other => match other.next_word() {
                Some(word) => format!("--{} {word}", self.long),
                None => format!("--{}", self.long),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_unique_and_none_is_the_start_of_another_with_its_letters() {
        for (index, option) in MINI_OPTIONS.iter().enumerate() {
            assert!(
                MINI_OPTIONS[index + 1..]
                    .iter()
                    .all(|other| other.letter != option.letter && other.name != option.name)
            );
        }
        for (index, option) in DUMP_OPTIONS.iter().enumerate() {
            assert!(
                DUMP_OPTIONS[index + 1..]
                    .iter()
                    .all(|other| other.short != option.short && other.long != option.long)
            );
        }
    }

    #[test]
    fn a_shorthand_has_the_bits_of_the_letters_that_it_stands_for() {
        for option in MINI_OPTIONS.iter().filter(|option| !option.expansion.is_empty()) {
            let letters = option
                .expansion
                .chars()
                .map(|letter| mini_option(letter).expect("a letter of the table"));
            let (format, kind) = letters.fold(
                (DebugFormat::empty(), MiniDumpType::empty()),
                |(format, kind), letter| (format | letter.format, kind | letter.mini_dump_type),
            );
            assert_eq!(option.format - DebugFormat::IGNORE_INACCESSIBLE_MEM, format);
            assert_eq!(option.mini_dump_type - MiniDumpType::IGNORE_INACCESSIBLE_MEMORY, kind);
        }
    }

    #[test]
    fn every_other_letter_is_one_bit_of_each_kind() {
        for option in MINI_OPTIONS.iter().filter(|option| option.expansion.is_empty()) {
            assert_eq!(option.format.bits().count_ones(), 1, "{}", option.letter);
            assert_eq!(option.mini_dump_type.bits().count_ones(), 1, "{}", option.letter);
        }
    }
}
