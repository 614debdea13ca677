//! Text for a terminal: lines of a bounded width, without characters that a terminal obeys.

use std::fmt::Write as _;

use dotdump_format::Findings;

use crate::counted::counted;

/// The widest line.
pub(super) const WIDTH: usize = 100;

/// The column at which what a line is about ends and what it says starts.
const INDENT: usize = 14;

/// Lines of text, each cut to [`WIDTH`].
#[derive(Default)]
pub(super) struct Lines(Vec<String>);

impl Lines {
    /// A line: what it is about, and what it says.
    pub(super) fn labelled(&mut self, label: &str, text: &str) {
        self.0.push(cut(&format!("  {label:<11} {text}"), WIDTH));
    }

    /// A line that goes on with what the one above says.
    pub(super) fn more(&mut self, text: &str) {
        self.labelled("", text);
    }

    /// Words after a label, on at most `lines` lines. What does not fit is counted.
    pub(super) fn words(&mut self, label: &str, words: &[String], lines: usize) {
        let room = WIDTH - INDENT;
        let mut rows = vec![String::new()];
        for (index, word) in words.iter().enumerate() {
            let last = rows.len() == lines;
            let row = rows.last_mut().expect("there is one");
            let separator = if row.is_empty() { "" } else { ", " };
            // The last line keeps room to say how many more there are.
            let limit = match index + 1 == words.len() {
                true => room,
                false if last => room - 12,
                // A comma ends the line.
                false => room - 1,
            };
            if row.chars().count() + separator.len() + word.chars().count() <= limit || row.is_empty() {
                let _ = write!(row, "{separator}{word}");
            } else if last {
                let _ = write!(row, " … {} more", words.len() - index);
                break;
            } else {
                row.push(',');
                rows.push(word.clone());
            }
        }
        for (index, row) in rows.iter().enumerate() {
            self.labelled(if index == 0 { label } else { "" }, row);
        }
    }

    /// What is wrong with a file. Tells whether all of it was shown.
    pub(super) fn findings(&mut self, findings: &Findings) -> bool {
        /// How many are shown.
        const SHOWN: usize = 3;
        if findings.is_empty() {
            self.labelled("findings", "none");
            return true;
        }
        let more = findings.total().saturating_sub(SHOWN as u64);
        let text = match more {
            0 => String::new(),
            more => format!(", {more} of them not shown"),
        };
        self.line(&format!("  {}{text}", counted(findings.total(), "finding")));
        for finding in findings.as_slice().iter().take(SHOWN) {
            self.wrapped(&finding.to_string());
        }
        more == 0
    }

    /// A sentence, indented, on as many lines as it takes.
    fn wrapped(&mut self, text: &str) {
        /// A text that takes more is cut: a dump may have anything in its names.
        const LINES: usize = 4;
        let (first, next) = ("     ", "       ");
        let mut row = first.to_owned();
        let mut rows = 1;
        for word in text.split_whitespace() {
            let is_full = row.chars().count() + 1 + word.chars().count() > WIDTH && !row.trim_start().is_empty();
            if is_full && rows < LINES {
                self.line(&std::mem::replace(&mut row, next.to_owned()));
                rows += 1;
            } else if !row.trim_start().is_empty() {
                row.push(' ');
            }
            row.push_str(word);
        }
        self.line(&row);
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all lines of `other`.
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// A line as it is, cut.
    pub(super) fn line(&mut self, text: &str) {
        self.0.push(cut(text, WIDTH));
    }

    /// All lines, each with its end.
    pub(super) fn into_text(self) -> String {
        self.0.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }
}

/// The text within `width` characters, on one line. Control characters, which a dump may have anywhere and a terminal
/// obeys, become visible.
pub(super) fn cut(text: &str, width: usize) -> String {
    let visible = |letter: char| match letter {
        '\n' | '\r' | '\t' => ' ',
        letter if letter.is_control() || is_invisible(letter) => '\u{FFFD}',
        letter => letter,
    };
    let mut cut: String = text.chars().take(width + 1).map(visible).collect();
    if let Some((at, _)) = cut.char_indices().nth(width) {
        let keep = cut[..at].char_indices().next_back().map_or(0, |(last, _)| last);
        cut.truncate(keep);
        cut.push('…');
    }
    cut
}

/// The end of the text within `width` characters: of a path, the end says most.
pub(super) fn cut_front(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return cut(text, width);
    }
    let end: String = text.chars().skip(count + 1 - width).collect();
    format!("…{}", cut(&end, width))
}

/// Characters that turn the direction of what follows, or that no one sees.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// A duration in words: `3 d 04:05:06`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days} d {clock}") } else { clock }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_finding_is_told_to_its_end() {
        let mut lines = Lines::default();
        lines.wrapped(&["word"; 40].join(" "));
        let text = lines.into_text();
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= WIDTH && line.starts_with("     "))
        );
        let mut lines = Lines::default();
        lines.wrapped(&["word"; 4000].join(" "));
        let text = lines.into_text();
        assert!(text.lines().count() == 4 && text.ends_with("…\n"), "{text}");
    }

    #[test]
    fn text_is_cut_and_harmless() {
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("abcde", 4), "abc…");
        assert_eq!(cut("a\x1b[2J\nb", 10), "a\u{FFFD}[2J b");
        assert_eq!(cut_front("/usr/lib/abc", 5), "…/abc");
        assert_eq!(cut_front("äöü", 3), "äöü");
    }

    #[test]
    fn words_fill_lines_and_the_rest_is_counted() {
        let words: Vec<String> = (0..60).map(|index| format!("word{index:02}")).collect();
        let mut lines = Lines::default();
        lines.words("streams", &words, 2);
        let text = lines.into_text();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let shown = text.matches("word").count();
        assert!(text.ends_with(&format!("… {} more\n", 60 - shown)), "{text}");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(59), "00:00:59");
        assert_eq!(duration(90_061), "1 d 01:01:01");
    }
}
