//! The set of letters after `-m`.

use std::fmt;
use std::str::FromStr;

use dotdump_format::minidump::MiniDumpType;

use super::OptionsError;
use super::debug_format::DebugFormat;
use super::table::{MINI_OPTIONS, MiniOption, mini_option};

bitflags::bitflags! {
    /// What a small dump was asked to have, beyond its basic contents.
    ///
    /// Shorthands are resolved: `a` and `fFhut` are the same set, which is spelled `-ma`. Each member has the
    /// value of its `DEBUG_FORMAT_*` flag.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MiniOptions: u32 {
        /// `f`: all memory.
        const FULL_MEMORY = DebugFormat::FULL_MEMORY.bits();
        /// `F`: the map of the address space.
        const FULL_MEMORY_INFO = DebugFormat::FULL_MEMORY_INFO.bits();
        /// `h`: handles.
        const HANDLES = DebugFormat::HANDLE_DATA.bits();
        /// `u`: unloaded modules.
        const UNLOADED_MODULES = DebugFormat::UNLOADED_MODULES.bits();
        /// `t`: times and start addresses of threads.
        const THREAD_INFO = DebugFormat::THREAD_INFO.bits();
        /// `i`: memory that stacks point to.
        const INDIRECT_MEMORY = DebugFormat::INDIRECT_MEMORY.bits();
        /// `p`: process and thread environment blocks.
        const PROCESS_THREAD_DATA = DebugFormat::PROCESS_THREAD_DATA.bits();
        /// `w`: private read-write pages.
        const PRIVATE_READ_WRITE_MEMORY = DebugFormat::PRIVATE_READ_WRITE_MEMORY.bits();
        /// `d`: writable sections of modules.
        const DATA_SEGMENTS = DebugFormat::DATA_SEGMENTS.bits();
        /// `c`: code sections of modules.
        const CODE_SEGMENTS = DebugFormat::CODE_SEGMENTS.bits();
        /// `r`: stacks without anything but what a stack walk needs.
        const FILTER_MEMORY = DebugFormat::FILTER_MEMORY.bits();
        /// `R`: module names without folders.
        const FILTER_PATHS = DebugFormat::FILTER_PATHS.bits();
        /// `y`: extended processor state.
        const AVX_STATE = DebugFormat::ADD_AVX_XSTATE_CONTEXT.bits();
        /// What `A` adds to `a`: memory that cannot be had is skipped. It has no letter of its own, and is
        /// only accepted together with [`MiniOptions::ALL`].
        const IGNORE_INACCESSIBLE = DebugFormat::IGNORE_INACCESSIBLE_MEM.bits();
        /// `a`: all of `fFhut`.
        const ALL = Self::FULL_MEMORY.bits()
            | Self::FULL_MEMORY_INFO.bits()
            | Self::HANDLES.bits()
            | Self::UNLOADED_MODULES.bits()
            | Self::THREAD_INFO.bits();
    }
}

impl MiniOptions {
    /// Whether `option` of the table is in effect: all that its letter stands for is in the set.
    #[must_use]
    pub fn has(self, option: &MiniOption) -> bool {
        self.to_debug_format().contains(option.format)
    }

    /// Whether all of `a` was asked for. What the source lacks of it then is a warning; for a letter that was
    /// asked for by itself it may be an error.
    #[must_use]
    pub const fn asks_for_all(self) -> bool {
        self.contains(Self::ALL)
    }

    /// The `MINIDUMP_TYPE` that stands for the set. A dump's header gets what was really achieved, which may
    /// be less; and `WITH_TOKEN_INFORMATION`, for which there is no option, where the source has tokens.
    #[must_use]
    pub fn mini_dump_type(self) -> MiniDumpType {
        MINI_OPTIONS
            .iter()
            .filter(|option| self.has(option))
            .fold(MiniDumpType::empty(), |kind, option| kind | option.mini_dump_type)
    }

    /// The `DEBUG_FORMAT_*` flags that stand for the set.
    #[must_use]
    pub const fn to_debug_format(self) -> DebugFormat {
        DebugFormat::from_bits_retain(self.bits())
    }

    /// The set for `DEBUG_FORMAT_*` flags.
    ///
    /// # Errors
    /// [`OptionsError::UnsupportedFormat`] for flags that no letter stands for, and what [`MiniOptions::check`]
    /// refuses.
    pub fn from_debug_format(format: DebugFormat) -> Result<Self, OptionsError> {
        let options = Self::from_bits(format.bits()).ok_or(OptionsError::UnsupportedFormat {
            bits: format.bits() & !Self::all().bits(),
        })?;
        options.check()?;
        Ok(options)
    }

    /// Refuses a set for which there is no dump. A set from [`str::parse`] or
    /// [`MiniOptions::from_debug_format`] has been checked; one that was put together otherwise may need it.
    ///
    /// # Errors
    /// [`OptionsError::Conflict`] for `r` with `f`, and [`OptionsError::UnsupportedFormat`] for
    /// [`MiniOptions::IGNORE_INACCESSIBLE`] without [`MiniOptions::ALL`].
    pub fn check(self) -> Result<(), OptionsError> {
        if self.contains(Self::FILTER_MEMORY | Self::FULL_MEMORY) {
            return Err(OptionsError::Conflict {
                first: 'r',
                second: 'f',
                reason: "r leaves out what a stack walk does not need, f (also as part of a and A) keeps all memory",
            });
        }
        if self.contains(Self::IGNORE_INACCESSIBLE) && !self.asks_for_all() {
            return Err(OptionsError::UnsupportedFormat {
                bits: Self::IGNORE_INACCESSIBLE.bits(),
            });
        }
        Ok(())
    }

    /// The shortest spelling of the set in letters, in the order of the table.
    #[must_use]
    pub fn letters(self) -> String {
        let mut left = self;
        let mut letters = String::new();
        if let Some(shorthand) = shorthands().into_iter().find(|option| self.has(option)) {
            letters.push(shorthand.letter);
            left -= Self::from_bits_retain(shorthand.format.bits());
        }
        letters.extend(
            MINI_OPTIONS
                .iter()
                .filter(|option| option.expansion.is_empty() && left.has(option))
                .map(|option| option.letter),
        );
        letters
    }
}

/// The letters that stand for others, the one with most bits first.
fn shorthands() -> Vec<&'static MiniOption> {
    let mut shorthands: Vec<_> = MINI_OPTIONS
        .iter()
        .filter(|option| !option.expansion.is_empty())
        .collect();
    shorthands.sort_by_key(|option| std::cmp::Reverse(option.format.bits().count_ones()));
    shorthands
}

impl FromStr for MiniOptions {
    type Err = OptionsError;

    /// The set for the letters after `-m`. A letter may be repeated, and shorthands mixed with others.
    fn from_str(letters: &str) -> Result<Self, Self::Err> {
        let mut options = Self::empty();
        for letter in letters.chars() {
            let option = mini_option(letter).ok_or(OptionsError::UnknownLetter { letter })?;
            options |= Self::from_bits_retain(option.format.bits());
        }
        options.check()?;
        Ok(options)
    }
}

impl fmt::Display for MiniOptions {
    /// The option with its letters, such as `-mFhut`; the same set is always spelled the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-m{}", self.letters())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(letters: &str) -> MiniOptions {
        letters.parse().expect("letters of the table")
    }

    #[test]
    fn bits_are_those_of_the_debugger() {
        for (letters, format, kind) in [
            ("", 0, 0),
            ("a", 0xC07, 0x1826),
            ("A", 0x0800_0C07, 0x2_1826),
            ("f", 0x1, 0x2),
            ("h", 0x2, 0x4),
            ("u", 0x4, 0x20),
            ("i", 0x8, 0x40),
            ("d", 0x10, 0x1),
            ("r", 0x20, 0x8),
            ("R", 0x40, 0x80),
            ("p", 0x80, 0x100),
            ("w", 0x100, 0x200),
            ("F", 0x400, 0x800),
            ("t", 0x800, 0x1000),
            ("c", 0x1000, 0x2000),
            ("y", 0x2_0000, 0x20_0000),
            // Dumps from WinDbg have 0x40000 more, for the token.
            ("pi", 0x88, 0x140),
            ("di", 0x18, 0x41),
            ("up", 0x84, 0x120),
        ] {
            let options = parse(letters);
            assert_eq!(options.to_debug_format().bits(), format, "format of -m{letters}");
            assert_eq!(options.mini_dump_type().bits(), kind, "type of -m{letters}");
            assert_eq!(
                MiniOptions::from_debug_format(DebugFormat::from_bits_retain(format)),
                Ok(options)
            );
        }
    }

    #[test]
    fn every_bit_of_the_set_has_a_letter_but_the_one_of_the_shorthand() {
        let letters = MINI_OPTIONS
            .iter()
            .filter(|option| option.expansion.is_empty())
            .fold(MiniOptions::empty(), |set, option| {
                set | MiniOptions::from_bits_retain(option.format.bits())
            });
        assert_eq!(letters, MiniOptions::all() - MiniOptions::IGNORE_INACCESSIBLE);
    }

    #[test]
    fn the_spelling_is_the_same_for_the_same_set() {
        for (letters, spelling) in [
            ("", "-m"),
            ("tuhF", "-mFhut"),
            ("fFhut", "-ma"),
            ("aA", "-mA"),
            ("yA", "-mAy"),
            ("ywia", "-maiwy"),
            ("iiii", "-mi"),
            ("Rr", "-mrR"),
        ] {
            assert_eq!(parse(letters).to_string(), spelling, "-m{letters}");
        }
    }

    #[test]
    fn unknown_letters_are_named() {
        let error = "hq".parse::<MiniOptions>().expect_err("no q in the table");
        assert_eq!(error, OptionsError::UnknownLetter { letter: 'q' });
        assert_eq!(
            error.to_string(),
            "unknown letter `q` after -m; known are aAfFhutipwdcrRy"
        );
        assert!("I".parse::<MiniOptions>().is_err(), "case matters");
    }

    #[test]
    fn filtered_full_memory_is_refused_with_the_reason() {
        for letters in ["rf", "fr", "ra", "Air"] {
            let error = letters.parse::<MiniOptions>().expect_err("contradiction");
            assert!(
                error.to_string().starts_with("-mr and -mf contradict each other: "),
                "{error}"
            );
        }
    }

    #[test]
    fn formats_without_a_letter_are_refused_by_name() {
        for (format, name) in [
            (0x8001, "MODULE_HEADERS"),
            (0x0800_0001, "IGNORE_INACCESSIBLE_MEM"),
            (0x2000_0000, "WRITE_CAB"),
        ] {
            let error = MiniOptions::from_debug_format(DebugFormat::from_bits_retain(format)).expect_err("no letter");
            assert!(error.to_string().contains(&format!("({name})")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_spelled_set_is_read_back(letters in "[aAfFhutipwdcrRy]{0,20}") {
            if let Ok(options) = letters.parse::<MiniOptions>() {
                let spelled = options.to_string();
                prop_assert_eq!(spelled.strip_prefix("-m").expect("the option").parse(), Ok(options));
                prop_assert_eq!(MiniOptions::from_debug_format(options.to_debug_format()), Ok(options));
            }
        }

        #[test]
        fn any_letters_are_a_set_or_an_error(letters in ".{0,10}") {
            let _ = letters.parse::<MiniOptions>();
        }
    }
}
