//! The table of options for the documentation.

use std::fmt::Write as _;

use super::table::{DUMP_OPTIONS, MINI_OPTIONS};

/// The line before the table in a document.
pub const TABLE_BEGIN: &str = "<!-- dump options: made from the flag table -->";
/// The line after it.
pub const TABLE_END: &str = "<!-- end of dump options -->";

/// The options as two tables in Markdown: those of the command line, and the letters after `-m`.
#[must_use]
pub fn markdown_table() -> String {
    let mut text = String::from("| option | long name | meaning |\n|---|---|---|\n");
    for option in DUMP_OPTIONS {
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} |",
            option.usage(),
            option.long_usage(),
            option.about
        );
    }
    text.push_str(
        "\n| letter | adds or changes | needs in the source | `DEBUG_FORMAT` | `MINIDUMP_TYPE` |\n|---|---|---|---|---|\n",
    );
    for option in MINI_OPTIONS {
        let needs = if option.needs.is_empty() { "–" } else { option.needs };
        let _ = writeln!(
            text,
            "| `{}` | {} | {needs} | `{:#x}` | `{:#x}` |",
            option.letter,
            option.about,
            option.format.bits(),
            option.mini_dump_type.bits(),
        );
    }
    text
}

/// `document` with the present tables between the lines [`TABLE_BEGIN`] and [`TABLE_END`], or `None` where it
/// does not have these lines. A document is up to date when this changes nothing.
#[must_use]
pub fn replace_markdown_table(document: &str) -> Option<String> {
    let begin = document.find(TABLE_BEGIN)? + TABLE_BEGIN.len();
    let end = begin + document[begin..].find(TABLE_END)?;
    Some(format!(
        "{}\n\n{}\n{}",
        &document[..begin],
        markdown_table(),
        &document[end..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gets_the_table_once() {
        let document = format!("# Title\n{TABLE_BEGIN}\nold\n{TABLE_END}\nrest\n");
        let fresh = replace_markdown_table(&document).expect("it has the lines");
        assert!(fresh.starts_with("# Title\n") && fresh.ends_with(&format!("{TABLE_END}\nrest\n")));
        assert!(fresh.contains("| `A` |") && !fresh.contains("old"));
        assert_eq!(replace_markdown_table(&fresh).as_ref(), Some(&fresh));
        assert_eq!(replace_markdown_table("nothing"), None);
    }

    #[test]
    fn cells_do_not_break_the_table() {
        let columns: Vec<_> = markdown_table()
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.matches('|').count())
            .collect();
        let (options, letters) = columns.split_at(DUMP_OPTIONS.len() + 2);
        assert!(options.iter().all(|&count| count == 4) && letters.iter().all(|&count| count == 6));
    }
}
