//! The file of `--report`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use dotdump_transcode::sink::{Control, Destination, Sink, SinkError};

/// Where a report goes. Like a dump it appears whole or not at all, and only once [`ReportFile::finish`] is done.
pub(crate) struct ReportFile<'a> {
    path: PathBuf,
    state: State<'a>,
}

enum State<'a> {
    Checked(Destination),
    Open(Box<dyn Sink + 'a>),
}

impl<'a> ReportFile<'a> {
    /// Checks that a report can go to `path`, which may exist, without taking the place of what is read or of the dump
    /// that is written to `output` (`None` for standard output).
    pub(crate) fn check(path: &Path, source: Option<&File>, output: Option<&Path>) -> anyhow::Result<Self> {
        let output_file = match output {
            None => standard_output(),
            // To open a FIFO would wait for its other end.
            Some(output) if fs::metadata(output).is_ok_and(|metadata| metadata.is_file()) => File::open(output).ok(),
            Some(_) => None,
        };
        let is_output_file = output_file.is_some_and(|file| {
            let checked = Destination::file(path, true, Some(&file));
            matches!(checked, Err(SinkError::IsSource { .. }))
        });
        let destination = Destination::file(path, true, source).with_context(|| cannot_write(path))?;
        let is_output_path = output.and_then(place).is_some_and(|output| place(path) == Some(output));
        if is_output_file || is_output_path {
            bail!("{}: it is the output; write to another file", cannot_write(path));
        }
        Ok(Self {
            path: path.into(),
            state: State::Checked(destination),
        })
    }

    /// Opens it, so that what does not take a report is known before there is one.
    pub(crate) fn open(self, control: Control<'a>) -> anyhow::Result<Self> {
        let Self { path, state } = self;
        let sink = match state {
            State::Checked(destination) => destination.open(None, control).with_context(|| cannot_write(&path))?,
            State::Open(sink) => sink,
        };
        Ok(Self {
            path,
            state: State::Open(sink),
        })
    }

    /// Writes the report.
    pub(crate) fn finish(self, mut text: Vec<u8>, control: Control<'a>) -> anyhow::Result<Finished> {
        text.push(b'\n');
        let Self { path, state } = self.open(control)?;
        if let State::Open(mut sink) = state {
            sink.write_all(&text)
                .and_then(|()| sink.finish())
                .with_context(|| cannot_write(&path))?;
        }
        Ok(Finished(path))
    }
}

/// A report that is written.
pub(crate) struct Finished(PathBuf);

impl Finished {
    /// Removes it, for what it tells of did not come about.
    pub(crate) fn take_back(self) {
        let is_file = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        if let Some(path) = fs::canonicalize(self.0).ok().filter(is_file) {
            // The failure that led here is what has to be told.
            let _ = fs::remove_file(path);
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the report {}", path.display())
}

/// The one path of a file that may not exist yet; `None` where it has no folder.
fn place(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
        Some(folder.join(path.file_name()?))
    })
}

/// Standard output, which may have been redirected to a file.
#[cfg(unix)]
fn standard_output() -> Option<File> {
    use std::os::fd::AsFd as _;
    std::io::stdout().as_fd().try_clone_to_owned().ok().map(File::from)
}

/// Standard output, which may have been redirected to a file.
#[cfg(windows)]
fn standard_output() -> Option<File> {
    use std::os::windows::io::AsHandle as _;
    std::io::stdout().as_handle().try_clone_to_owned().ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_neither_source_nor_output() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["source", "output", "other"] {
            fs::write(path(name), name).expect("a file");
        }
        fs::hard_link(path("source"), path("source-again")).expect("a link");
        fs::hard_link(path("output"), path("output-again")).expect("a link");
        let source = File::open(path("source")).expect("the source");
        let error = |report: &str, output: &str| {
            let checked = ReportFile::check(&path(report), Some(&source), Some(&path(output)));
            checked.err().map(|error| format!("{error:#}")).unwrap_or_default()
        };
        for report in ["source", "source-again"] {
            assert!(error(report, "output").contains("source itself"), "{report}");
        }
        for (report, output) in [("output", "output"), ("output-again", "output"), ("./new", "new")] {
            assert!(error(report, output).contains("it is the output"), "{report}");
        }
        for report in ["other", "new"] {
            assert_eq!(error(report, "output"), "", "{report}");
        }
    }
}
