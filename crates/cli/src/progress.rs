//! Progress on standard error.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use dotdump_transcode::sink::Progress;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::ProgressMode;

/// What shows progress, as the user wants it.
pub(crate) fn new(mode: ProgressMode, quiet: bool) -> Box<dyn Progress> {
    let terminal = io::stderr().is_terminal();
    match mode {
        _ if quiet => Box::new(()),
        ProgressMode::Never => Box::new(()),
        ProgressMode::Auto | ProgressMode::Always if terminal => Box::new(Bar::new()),
        ProgressMode::Auto => Box::new(()),
        ProgressMode::Always => Box::new(Lines::new(Duration::from_secs(1))),
    }
}

/// A bar that is drawn over itself and vanishes at the end.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        // Without a total there is no bar and no remaining time to show.
        Self::style(&bar, "{binary_bytes} written, {binary_bytes_per_sec}");
        Self(bar)
    }

    fn style(bar: &ProgressBar, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
    }
}

impl Progress for Bar {
    fn total(&self, bytes: u64) {
        self.0.set_length(bytes);
        let template = "[{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
        Self::style(&self.0, template);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line from time to time, for logs.
struct Lines {
    every: Duration,
    start: Instant,
    told: Cell<Instant>,
    total: Cell<Option<u64>>,
    done: Cell<u64>,
}

impl Lines {
    fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            start: now,
            told: Cell::new(now),
            total: Cell::new(None),
            done: Cell::new(0),
        }
    }

    fn line(&self, passed: Duration) -> String {
        let done = self.done.get();
        let rate = u64::try_from(u128::from(done) * 1000 / passed.as_millis().max(1)).unwrap_or(u64::MAX);
        let Some(total) = self.total.get() else {
            return format!("{} written, {}/s", HumanBytes(done), HumanBytes(rate));
        };
        let left = Duration::from_secs(total.saturating_sub(done) / rate.max(1));
        let (done, total, rate, left) = (
            HumanBytes(done),
            HumanBytes(total),
            HumanBytes(rate),
            HumanDuration(left),
        );
        format!("{done} of {total} written, {rate}/s, {left} left")
    }
}

impl Progress for Lines {
    fn total(&self, bytes: u64) {
        self.total.set(Some(bytes));
    }

    fn advance(&self, bytes: u64) {
        self.done.set(self.done.get().saturating_add(bytes));
        let complete = self.total.get() == Some(self.done.get());
        if complete || self.told.get().elapsed() >= self.every {
            self.told.set(Instant::now());
            // Nobody may be listening; that is no reason to fail.
            let _ = writeln!(io::stderr(), "{}", self.line(self.start.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_bytes_rate_and_remaining_time() {
        let lines = Lines::new(Duration::MAX);
        lines.advance(1 << 20);
        assert_eq!(lines.line(Duration::from_secs(2)), "1.00 MiB written, 512.00 KiB/s");
        lines.total(3 << 20);
        let text = "1.00 MiB of 3.00 MiB written, 512.00 KiB/s, 4 seconds left";
        assert_eq!(lines.line(Duration::from_secs(2)), text);
        assert_eq!(Lines::new(Duration::MAX).line(Duration::ZERO), "0 B written, 0 B/s");
    }
}
