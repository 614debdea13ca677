//! The results: a table for people and JSON for programs.

use serde_json::{Value, json};

/// One line of the table.
pub(super) struct Row {
    /// What was measured.
    pub(super) scenario: String,
    /// Which program or setting.
    pub(super) subject: String,
    /// The figures, by column.
    pub(super) figures: Figures,
    /// The goal and whether it was met, where there is one.
    pub(super) goal: Option<(String, bool)>,
    /// All figures, for programs.
    pub(super) details: Value,
}

/// The columns that are not text.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) time: Option<f64>,
    pub(super) peak: Option<u64>,
    /// A throughput in bytes a second.
    pub(super) throughput: Option<f64>,
    /// Compared with another row, in words.
    pub(super) ratio: String,
}

const HEAD: [&str; 7] = [
    "Scenario",
    "Subject",
    "Time",
    "Peak memory",
    "Throughput",
    "Compared",
    "Goal",
];

/// The table in Markdown.
pub(super) fn markdown(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned))
        .chain(rows.iter().map(|row| {
            let figures = &row.figures;
            [
                row.scenario.clone(),
                row.subject.clone(),
                figures.time.map_or_else(String::new, time),
                figures.peak.map_or_else(String::new, mebibytes),
                figures
                    .throughput
                    .map_or_else(String::new, |rate| format!("{:.2} GB/s", rate / 1e9)),
                figures.ratio.clone(),
                row.goal.as_ref().map_or_else(String::new, |(goal, met)| {
                    format!("{goal}: {}", if *met { "met" } else { "missed" })
                }),
            ]
        }))
        .collect();
    let widths: [usize; 7] =
        std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        let padded: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += &format!("| {} |\n", padded.join(" | "));
        if index == 0 {
            text += &format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
    text
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes below 2^53")]
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Row {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "subject": self.subject,
            "compared": self.figures.ratio,
            "throughput_bytes_per_second": self.figures.throughput,
            "goal": self.goal.as_ref().map(|(goal, met)| json!({ "text": goal, "met": met })),
            "details": self.details,
        })
    }
}
