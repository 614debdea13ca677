//! Counts in sentences.

/// A count and what is counted: `1 thread`, `2 threads`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
