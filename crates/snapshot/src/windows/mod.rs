//! What a process of Windows tells of itself in its memory, whether that is live or in a dump.

mod image;
mod modules;

pub use modules::{LoaderModules, image_module};
