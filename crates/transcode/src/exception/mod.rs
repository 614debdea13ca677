//! The exception that a dump stores, where the options name one in the target's memory (`-j`, `-xc`, `-xr`, `-xp`, `-xt`,
//! `--signal-info`).
//!
//! It takes the place of the source's own in everything that is made of the source: in the choice of stacks and of code
//! around instruction pointers, and in the stream. The memory at the addresses is kept as well, as debuggers look there.
//!
//! What is not given is made up for:
//! - the registers by those that the thread has in the source,
//! - the thread by the one on whose stack the registers' stack pointer is, else by that of the source's exception, else
//!   by the first,
//! - the exception by a breakpoint (0x80000003) of a Windows process, as a debugger has it that stopped one, and of a
//!   Linux process by what Breakpad has for a dump that was only asked for (0xFFFFFFFF).

mod found;
mod linux;
mod windows;
mod with_exception;

use std::fmt;

use dotdump_format::VirtAddr;

use crate::options::{OptionsError, Subject};
pub(crate) use found::{Found, find};
pub(crate) use with_exception::WithException;

/// Where exception and registers lie in the target's memory. All empty: the source's own exception is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionRequest {
    /// A `JIT_DEBUG_INFO` (`-j`).
    pub jit_debug_info: Option<VirtAddr>,
    /// A CONTEXT (`-xc`); of a Linux process a `ucontext_t`.
    pub context: Option<VirtAddr>,
    /// An `EXCEPTION_RECORD` (`-xr`); of a Linux process a `siginfo_t`.
    pub record: Option<VirtAddr>,
    /// An `EXCEPTION_POINTERS` (`-xp`).
    pub pointers: Option<VirtAddr>,
    /// The thread that the exception belongs to (`-xt`).
    pub thread: Option<u32>,
    /// A `siginfo_t` (`--signal-info`), of a Linux process.
    pub signal_info: Option<VirtAddr>,
}

impl ExceptionRequest {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether options in the spelling of [`Request::canonical`](crate::Request::canonical), which ends with them, name an
    /// exception.
    pub(crate) fn is_among(options: &str) -> bool {
        // Only a comment can have quotation marks, and what follows the last one is no part of it.
        let tail = options.rsplit('"').next().unwrap_or_default();
        tail.split(' ')
            .any(|word| matches!(word, "-j" | "-xc" | "-xr" | "-xp" | "-xt" | "--signal-info"))
    }

    /// Refuses options that tell the same in different ways.
    ///
    /// # Errors
    /// [`OptionsError::Exclusive`].
    pub const fn check(&self) -> Result<(), OptionsError> {
        const JIT: &str = "a JIT_DEBUG_INFO names thread, exception and registers itself";
        const POINTERS: &str = "EXCEPTION_POINTERS lead to both exception and registers";
        const RECORD: &str = "both are the address of the exception";
        let jit = self.jit_debug_info.is_some();
        let (context, record, pointers) = (self.context.is_some(), self.record.is_some(), self.pointers.is_some());
        let signal = self.signal_info.is_some();
        let (first, second, reason) = match () {
            () if jit && context => ("-j", "-xc", JIT),
            () if jit && record => ("-j", "-xr", JIT),
            () if jit && pointers => ("-j", "-xp", JIT),
            () if jit && self.thread.is_some() => ("-j", "-xt", JIT),
            () if jit && signal => ("-j", "--signal-info", JIT),
            () if pointers && context => ("-xp", "-xc", POINTERS),
            () if pointers && record => ("-xp", "-xr", POINTERS),
            () if pointers && signal => ("-xp", "--signal-info", POINTERS),
            () if record && signal => ("-xr", "--signal-info", RECORD),
            () => return Ok(()),
        };
        Err(OptionsError::Exclusive { first, second, reason })
    }

    /// Refuses all of them for a machine.
    ///
    /// # Errors
    /// [`OptionsError::Refused`] with the reason.
    pub fn check_for(&self, subject: Subject) -> Result<(), OptionsError> {
        match (subject, self.first()) {
            (Subject::Machine, Some(option)) => Err(OptionsError::Refused {
                option: option.to_owned(),
                reason: "only the dump of a process stores an exception; that of a machine has its bugcheck",
            }),
            _ => Ok(()),
        }
    }

    /// The first option that is given.
    fn first(&self) -> Option<&'static str> {
        [
            ("-j", self.jit_debug_info.is_some()),
            ("-xc", self.context.is_some()),
            ("-xr", self.record.is_some()),
            ("-xp", self.pointers.is_some()),
            ("-xt", self.thread.is_some()),
            ("--signal-info", self.signal_info.is_some()),
        ]
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option))
    }
}

impl fmt::Display for ExceptionRequest {
    /// As on the command line, a space before each option; nothing where it is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (option, address) in [
            ("-j", self.jit_debug_info),
            ("-xc", self.context),
            ("-xr", self.record),
            ("-xp", self.pointers),
        ] {
            if let Some(address) = address {
                write!(f, " {option} {address}")?;
            }
        }
        if let Some(thread) = self.thread {
            write!(f, " -xt {thread}")?;
        }
        if let Some(address) = self.signal_info {
            write!(f, " --signal-info {address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_the_same_twice_is_refused() {
        let given = |letters: &str| {
            let address = |letter| letters.contains(letter).then_some(VirtAddr(0x1000));
            ExceptionRequest {
                jit_debug_info: address('j'),
                context: address('c'),
                record: address('r'),
                pointers: address('p'),
                thread: letters.contains('t').then_some(1),
                signal_info: address('s'),
            }
        };
        for letters in ["", "j", "c", "r", "p", "t", "s", "cr", "crt", "pt", "cs", "cst", "rt"] {
            assert_eq!(given(letters).check(), Ok(()), "{letters}");
        }
        for (letters, told) in [
            ("jc", "-j and -xc "),
            ("jr", "-j and -xr "),
            ("jp", "-j and -xp "),
            ("jt", "-j and -xt "),
            ("js", "-j and --signal-info "),
            ("pc", "-xp and -xc "),
            ("pr", "-xp and -xr "),
            ("ps", "-xp and --signal-info "),
            ("rs", "-xr and --signal-info "),
        ] {
            let error = given(letters).check().expect_err(letters).to_string();
            assert!(error.starts_with(told), "{error}");
        }
        for letters in ["j", "c", "r", "p", "t", "s"] {
            let request = crate::Request {
                exception: given(letters),
                ..crate::Request::default()
            };
            assert!(ExceptionRequest::is_among(&request.canonical()), "{letters}");
        }
        assert!(!ExceptionRequest::is_among("-mi -c \"a -xc 0x1000 \\\" -j 1\" --force"));
        assert!(given("").check_for(Subject::Machine).is_ok());
        assert!(given("crt").check_for(Subject::Process).is_ok());
        let error = given("t")
            .check_for(Subject::Machine)
            .expect_err("a thread of a machine");
        assert!(error.to_string().starts_with("-xt is refused: "), "{error}");
    }
}
