//! Dump options as they are written in WinDbg (`-mFhut`, `/ma`, `/c text`), turned into their long names before
//! the rest of the command line is read. The flag table says what is one.

use std::ffi::OsString;

use dotdump_transcode::options::table::{Argument, DUMP_OPTIONS, DumpOption};

/// What the command line without its dump options looks like to the one who looks for them.
pub(crate) trait Grammar {
    /// Whether this subcommand takes dump options.
    fn takes_dump_options(&self, subcommand: &str) -> bool;

    /// How many words after the option (`--report`) are its values, whatever they look like.
    fn words_after(&self, subcommand: &str, option: &str) -> usize;
}

/// A word that can only be meant as a dump option, and is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownOption {
    /// The subcommand that it was given to.
    pub(crate) subcommand: String,
    /// The word.
    pub(crate) word: String,
    /// What is meant by what it starts with.
    pub(crate) known: String,
}

/// Gives the dump options in `arguments` (the first is the program) their long names.
pub(crate) fn spell_out(
    arguments: impl IntoIterator<Item = OsString>,
    grammar: &dyn Grammar,
) -> Result<Vec<OsString>, UnknownOption> {
    let mut arguments = arguments.into_iter();
    let mut spelled: Vec<OsString> = arguments.next().into_iter().collect();
    let subcommand = loop {
        let Some(word) = arguments.next() else {
            return Ok(spelled);
        };
        let name = word.to_str().filter(|word| !word.starts_with('-')).map(str::to_owned);
        spelled.push(word);
        if let Some(name) = name {
            break name;
        }
    };
    if !grammar.takes_dump_options(&subcommand) {
        spelled.extend(arguments);
        return Ok(spelled);
    }
    while let Some(word) = arguments.next() {
        // A word that is not text cannot be in the table.
        let Some(text) = word.to_str() else {
            spelled.push(word);
            continue;
        };
        if text == "--" {
            spelled.push(word);
            break;
        }
        if text.starts_with("--") {
            let values = match text.contains('=') {
                true => 0,
                false => grammar.words_after(&subcommand, text),
            };
            spelled.push(word);
            spelled.extend(arguments.by_ref().take(values));
            continue;
        }
        match recognise(text) {
            Some((option, letters)) => {
                let mut long = OsString::from(format!("--{}", option.long));
                if !letters.is_empty() {
                    long.push("=");
                    long.push(letters);
                }
                if option.argument.next_word().is_some()
                    && let Some(value) = arguments.next()
                {
                    long.push("=");
                    long.push(value);
                }
                spelled.push(long);
            }
            None => {
                if let Some(known) = text.strip_prefix('-').and_then(nearest) {
                    let (word, known) = (text.to_owned(), known.usage());
                    return Err(UnknownOption {
                        subcommand,
                        word,
                        known,
                    });
                }
                spelled.push(word);
            }
        }
    }
    spelled.extend(arguments);
    Ok(spelled)
}

/// The option that a word is, and the letters that follow it. With a slash only a word that matches the table as
/// a whole is one: `/mnt` is a path, as is `/m/x`. With a dash it cannot be a path, so that a letter that `-m` does
/// not have is left to the one who reads the letters, and can name it.
fn recognise(word: &str) -> Option<(&'static DumpOption, &str)> {
    let rest = word.strip_prefix(['-', '/'])?;
    DUMP_OPTIONS.iter().find_map(|option| {
        let letters = rest.strip_prefix(option.short)?;
        let known = letters.chars().all(|letter| option.argument.takes_letter(letter));
        let named_later = word.starts_with('-') && option.argument == Argument::MiniLetters;
        (known || named_later).then_some((option, letters))
    })
}

/// The option that a word starts like, although it is none.
fn nearest(rest: &str) -> Option<&'static DumpOption> {
    DUMP_OPTIONS.iter().find(|option| rest.starts_with(option.short))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Convert;

    impl Grammar for Convert {
        fn takes_dump_options(&self, subcommand: &str) -> bool {
            subcommand == "convert"
        }

        fn words_after(&self, _subcommand: &str, option: &str) -> usize {
            match option {
                "--report" | "--comment" => 1,
                "--three" => 3,
                _ => 0,
            }
        }
    }

    fn spelled(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        let spelled = spell_out(words, &Convert).expect("a good line");
        spelled
            .iter()
            .map(|word| word.to_str().expect("text"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn options_are_recognised_anywhere_after_the_subcommand() {
        for (line, expected) in [
            ("dotdump convert a b", "dotdump convert a b"),
            ("dotdump convert -m a b", "dotdump convert --mini a b"),
            (
                "dotdump convert a -mFhut b /o",
                "dotdump convert a --mini=Fhut b --overwrite",
            ),
            ("dotdump convert a b /ma -mi", "dotdump convert a b --mini=a --mini=i"),
            ("dotdump convert /fy a b -f", "dotdump convert --full=y a b --full"),
            (
                "dotdump convert /k a b -ka",
                "dotdump convert --kernel a b --kernel-active",
            ),
            ("dotdump convert a b -mrf", "dotdump convert a b --mini=rf"),
            ("dotdump convert a - -q -o", "dotdump convert a - -q --overwrite"),
            ("dotdump -q convert -o", "dotdump -q convert --overwrite"),
            ("dotdump convert /u a -a", "dotdump convert --unique a --all-processes"),
        ] {
            assert_eq!(spelled(line), expected);
        }
    }

    #[test]
    fn a_comment_is_the_next_word_whatever_it_looks_like() {
        for (line, expected) in [
            ("dotdump convert -c text a b", "dotdump convert --comment=text a b"),
            ("dotdump convert /c -ma a b", "dotdump convert --comment=-ma a b"),
            (
                "dotdump convert a b -c -- -o",
                "dotdump convert a b --comment=-- --overwrite",
            ),
            ("dotdump convert a b -c", "dotdump convert a b --comment"),
            (
                "dotdump convert a b --comment -o -o",
                "dotdump convert a b --comment -o --overwrite",
            ),
            (
                "dotdump convert a b --comment=-o -o",
                "dotdump convert a b --comment=-o --overwrite",
            ),
        ] {
            assert_eq!(spelled(line), expected);
        }
    }

    #[test]
    fn paths_are_no_options() {
        for line in [
            "dotdump convert /mnt/dump /tmp/out",
            "dotdump convert /mnt /m/a",
            "dotdump convert /media /full",
            "dotdump convert /ou /comment",
            "dotdump convert /M /O",
            "dotdump convert / /x",
            "dotdump convert a m",
            "dotdump convert --report /ma a b",
            "dotdump convert --three /o -o -ma a b",
        ] {
            assert_eq!(spelled(line), line);
        }
    }

    #[test]
    fn two_dashes_end_options() {
        assert_eq!(
            spelled("dotdump convert -o -- /ma -o -mq"),
            "dotdump convert --overwrite -- /ma -o -mq"
        );
    }

    #[test]
    fn other_subcommands_have_no_dump_options() {
        assert_eq!(spelled("dotdump inspect /ma -o"), "dotdump inspect /ma -o");
        assert_eq!(spelled("dotdump --help"), "dotdump --help");
        assert_eq!(spelled("dotdump"), "dotdump");
    }

    #[test]
    fn a_word_that_only_starts_like_an_option_is_refused_with_a_dash() {
        for word in ["-ob", "-comment", "-fz", "-kz", "-kay", "-uo", "-au"] {
            let words = ["dotdump", "convert", word].map(OsString::from);
            assert!(spell_out(words, &Convert).is_err(), "{word}");
        }
        assert_eq!(
            spelled("dotdump convert -mq -m=a"),
            "dotdump convert --mini=q --mini==a"
        );
        assert_eq!(
            spelled("dotdump convert -M -K -v"),
            "dotdump convert -M -K -v",
            "for others to refuse"
        );
    }

    #[cfg(unix)]
    #[test]
    fn words_that_are_not_text_pass() {
        use std::os::unix::ffi::OsStringExt as _;
        let words = [
            b"dotdump".to_vec(),
            b"convert".to_vec(),
            b"/m\xFF".to_vec(),
            b"-c".to_vec(),
            b"\xFF".to_vec(),
        ];
        let spelled = spell_out(words.map(OsString::from_vec), &Convert).expect("a good line");
        assert_eq!(spelled[2], OsString::from_vec(b"/m\xFF".to_vec()));
        assert_eq!(spelled[3], OsString::from_vec(b"--comment=\xFF".to_vec()));
    }
}
