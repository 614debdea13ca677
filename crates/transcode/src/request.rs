//! What one conversion is asked for.

use crate::options::{DumpOptions, MiniOptions};
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
        let mut text = self.options.mini.to_string();
        if let Some(comment) = &self.options.comment {
            text.push_str(&format!(" -c {comment:?}"));
        }
        if let Some(size) = self.max_size {
            text.push_str(&format!(" --max-size {size}"));
        }
        if self.force {
            text.push_str(" --force");
        }
        text
    }
}
