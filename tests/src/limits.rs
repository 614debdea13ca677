//! What a run on any file may take, and what it may leave behind.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::program::measure;

/// What one run may take of the processors' time.
const TIME: Duration = Duration::from_secs(2);
/// When a run that has not ended by itself is taken for one that never will. A busy disk may hold up a sound one for
/// seconds.
const END: Duration = Duration::from_secs(60);
const MEMORY: u64 = 64 << 20;

/// What runs did wrong, and the most that one took.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// One line for each thing that is wrong.
    pub problems: Vec<String>,
    /// The largest memory in bytes, and the run that took it.
    pub memory: (u64, String),
    /// The longest time, and the run that took it.
    pub time: (Duration, String),
}

impl Trouble {
    /// Runs the program within the limits; its exit code.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn tried<S: AsRef<OsStr>>(&mut self, arguments: &[S], name: &str) -> i32 {
        let cost = measure(arguments, END).expect("a run");
        let code = cost.code.unwrap_or(-1);
        if !(0..=3).contains(&code) || cost.memory > MEMORY || cost.time > TIME {
            self.problems.push(format!(
                "{name}: exit code {code}, {} ms of processor time, {} KiB",
                cost.time.as_millis(),
                cost.memory >> 10
            ));
        }
        if cost.memory > self.memory.0 {
            self.memory = (cost.memory, name.to_owned());
        }
        if cost.time > self.time.0 {
            self.time = (cost.time, name.to_owned());
        }
        code
    }

    /// Converts into a folder of its own: a failure leaves nothing there, a success one file that can be inspected.
    ///
    /// # Panics
    /// Where the program cannot be started.
    pub fn converted(&mut self, dump: &Path, options: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("out.dmp");
        let mut arguments: Vec<&OsStr> = vec!["convert".as_ref(), dump.as_ref(), output.as_ref()];
        arguments.extend(options.iter().map(OsStr::new));
        let name = format!("convert {}", options.join(" "));
        let code = self.tried(&arguments, &name);
        let left: Vec<_> = fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        let expected: &[&str] = if code == 0 { &["out.dmp"] } else { &[] };
        if left != expected {
            self.problems.push(format!("{name}: exit code {code} leaves {left:?}"));
        }
        if code == 0 {
            let name = format!("inspect of the output of {name}");
            let opened = self.tried(&["inspect".as_ref(), output.as_os_str()], &name);
            if opened != 0 {
                self.problems.push(format!("{name}: exit code {opened}"));
            }
        }
    }

    /// Adds what other runs did, which worked on `what`.
    pub fn add(&mut self, other: Self, what: &str) {
        let told = |name: String| format!("{what}: {name}");
        self.problems.extend(other.problems.into_iter().map(told));
        if other.memory.0 > self.memory.0 {
            self.memory = (other.memory.0, told(other.memory.1));
        }
        if other.time.0 > self.time.0 {
            self.time = (other.time.0, told(other.time.1));
        }
    }
}
