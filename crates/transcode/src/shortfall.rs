//! What was asked for and could not be had.

use std::fmt;

/// How much a shortfall weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is missing, but the user should know.
    Note,
    /// The dump is written without it.
    Warning,
    /// A dump without it would be false or empty; nothing is written.
    Refusal,
}

/// Something that was asked for and could not be had from the source.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shortfall {
    /// The option that asked for it, such as `-mh`, or `-m` for what every dump has.
    pub option: String,
    /// What is missing and why.
    pub message: String,
    /// Whether it prevents the dump.
    pub severity: Severity,
}

/// Gathers shortfalls. Many of one kind are told as one: a dump with a thousand modules should not give a thousand
/// lines.
#[derive(Clone, Debug, Default)]
pub struct Shortfalls {
    list: Vec<Shortfall>,
}

impl Shortfalls {
    /// Notes what the dump is written without.
    pub fn warn(&mut self, option: &str, message: impl Into<String>) {
        self.push(option, message.into(), Severity::Warning);
    }

    /// Notes what the user should know although nothing is missing.
    pub fn note(&mut self, option: &str, message: impl Into<String>) {
        self.push(option, message.into(), Severity::Note);
    }

    /// Notes what prevents the dump.
    pub fn refuse(&mut self, option: &str, message: impl Into<String>) {
        self.push(option, message.into(), Severity::Refusal);
    }

    /// Notes a kind of thing that is missing for `names`, of which the first few are told.
    pub fn warn_for(&mut self, option: &str, message: &str, names: &[String]) {
        if !names.is_empty() {
            self.warn(option, listed(message, names));
        }
    }

    fn push(&mut self, option: &str, message: String, severity: Severity) {
        self.list.push(Shortfall {
            option: option.to_owned(),
            message,
            severity,
        });
    }

    /// All of them, in the order in which they were noted.
    #[must_use]
    pub fn as_slice(&self) -> &[Shortfall] {
        &self.list
    }

    /// All of them, in the order in which they were noted.
    #[must_use]
    pub fn into_vec(self) -> Vec<Shortfall> {
        self.list
    }

    /// Whether one of them prevents the dump.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.list
            .iter()
            .any(|shortfall| shortfall.severity == Severity::Refusal)
    }
}

/// A message and the first few of the things that it is about.
#[must_use]
pub fn listed(message: &str, names: &[String]) -> String {
    const TOLD: usize = 4;
    let told = names[..names.len().min(TOLD)].join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => format!("{message}: {told}"),
        more => format!("{message}: {told} and {more} more"),
    }
}

impl Extend<Shortfall> for Shortfalls {
    fn extend<T: IntoIterator<Item = Shortfall>>(&mut self, shortfalls: T) {
        self.list.extend(shortfalls);
    }
}

impl From<Vec<Shortfall>> for Shortfalls {
    fn from(list: Vec<Shortfall>) -> Self {
        Self { list }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.message)
    }
}
