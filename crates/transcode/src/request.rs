//! What one conversion is asked for.

use std::fmt;

use crate::exception::ExceptionRequest;
use crate::options::{DumpKind, DumpOptions, MiniOptions};
use crate::select::ImageFolders;

/// Everything that decides what an output contains. Where it goes is the business of a sink.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The `.dump` options.
    pub options: DumpOptions,
    /// Folders with the images of modules, to find their segments.
    pub images: ImageFolders,
    /// The largest size of the file, in bytes.
    pub max_size: Option<u64>,
    /// Write what is there although the source is not what an option needs.
    pub force: bool,
    /// Leave out the manifest.
    pub no_manifest: bool,
    /// How a dump of pages is laid out; `None` for a bitmap, the usual way.
    pub layout: Option<PageLayout>,
    /// The exception to store in place of the source's own.
    pub exception: ExceptionRequest,
}

/// How the pages of a kernel dump are found in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageLayout {
    /// By a bitmap: types 5 and 6.
    Bitmap,
    /// By ranges: types 8, 9 and 0xA.
    Range,
    /// By the runs of the header: type 1.
    Runs,
}

impl PageLayout {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Range => "range",
            Self::Runs => "runs",
        }
    }
}

impl fmt::Display for PageLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Request {
    /// Whether what is there will do where memory is missing (`--force`, `-mA`).
    #[must_use]
    pub const fn is_lenient(&self) -> bool {
        self.force || self.options.mini.contains(MiniOptions::IGNORE_INACCESSIBLE)
    }

    /// The options that decide what is kept, in one spelling: two requests with the same text choose the same.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = match self.options.kind {
            DumpKind::Mini => self.options.mini.to_string(),
            kind => kind.to_string(),
        };
        if let Some(layout) = self.layout.filter(|layout| *layout != PageLayout::Bitmap) {
            text.push_str(&format!(" --layout {layout}"));
        }
        if let Some(comment) = &self.options.comment {
            text.push_str(&format!(" -c {comment:?}"));
        }
        if let Some(size) = self.max_size {
            text.push_str(&format!(" --max-size {size}"));
        }
        if self.force {
            text.push_str(" --force");
        }
        text.push_str(&self.exception.to_string());
        text
    }
}
