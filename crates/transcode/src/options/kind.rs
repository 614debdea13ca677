//! Which dump is asked for.

use std::fmt;

/// Which of the dumps that `.dump` can write is asked for: `-m`, `-f`, `-k` or `-ka`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DumpKind {
    /// `-m`: a minidump of a process, or a small memory dump of a machine.
    #[default]
    Mini,
    /// `-f`: a complete memory dump of a machine.
    Full {
        /// `y`: with extended processor state.
        avx_state: bool,
    },
    /// `-k`: a dump of the kernel's memory.
    Kernel,
    /// `-ka`: a dump of the active memory of the kernel and of processes.
    KernelActive,
}

impl DumpKind {
    /// The option that asks for it, as in WinDbg.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Mini => "-m",
            Self::Full { avx_state: false } => "-f",
            Self::Full { avx_state: true } => "-fy",
            Self::Kernel => "-k",
            Self::KernelActive => "-ka",
        }
    }

    /// The long name of that option.
    #[must_use]
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::Mini => "mini",
            Self::Full { .. } => "full",
            Self::Kernel => "kernel",
            Self::KernelActive => "kernel-active",
        }
    }
}

impl fmt::Display for DumpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.option())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::DUMP_OPTIONS;
    use super::*;

    #[test]
    fn each_kind_is_in_the_table() {
        for kind in [
            DumpKind::Mini,
            DumpKind::Full { avx_state: false },
            DumpKind::Full { avx_state: true },
            DumpKind::Kernel,
            DumpKind::KernelActive,
        ] {
            let option = DUMP_OPTIONS.iter().find(|option| option.long == kind.long_name());
            let short = option.expect("an entry").short;
            let rest = kind
                .option()
                .strip_prefix('-')
                .and_then(|word| word.strip_prefix(short));
            assert!(
                rest.is_some_and(|letters| letters.is_empty() || letters == "y"),
                "{kind}"
            );
        }
    }
}
