//! What the engine is asked for.

use anyhow::Context as _;
use dotdump_transcode::Request;
use dotdump_transcode::options::{DumpOptions, MiniOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::select::ImageFolders;

use crate::arguments::WritingArguments;
use crate::printing::warn;

/// The request that the command line makes.
pub(crate) fn request(arguments: &WritingArguments, layout: Option<PageLayout>) -> Request {
    Request {
        options: DumpOptions {
            // Where the dump goes is no matter of what is in it.
            overwrite: false,
            unique: false,
            all_processes: false,
            ..arguments.dump.options.clone()
        },
        images: ImageFolders::new(arguments.image_path.clone()),
        max_size: arguments.max_size,
        force: arguments.force,
        no_manifest: arguments.no_manifest,
        layout,
        exception: arguments.dump.exception.clone(),
    }
}

/// Folders that are misspelled or of no use would only show in what the dump lacks.
pub(crate) fn check_image_folders(arguments: &WritingArguments) -> anyhow::Result<()> {
    for folder in &arguments.image_path {
        let read = std::fs::metadata(folder).and_then(|metadata| match metadata.is_dir() {
            true => Ok(()),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        });
        read.with_context(|| format!("--image-path {}", folder.display()))?;
    }
    let users = MiniOptions::DATA_SEGMENTS | MiniOptions::CODE_SEGMENTS;
    if !arguments.image_path.is_empty() && !arguments.dump.options.mini.intersects(users) && !arguments.quiet {
        warn(format_args!(
            "warning: --image-path is not used: only the letters d and c of -m need images"
        ));
    }
    Ok(())
}
