//! Opening what is to be read, and telling what it is.

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, anyhow, bail};
use dotdump_format::{Error, FileOffset, PAGE_SIZE, ReadAt as _};
use dotdump_snapshot::detect::{Container, detect};
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_snapshot::raw_memory::MemoryMap;
use dotdump_snapshot::{DumpFile, LinuxProcess, linux};

use crate::misuse::Misuse;

/// Opens a dump to read.
pub(crate) fn open(path: &Path, mapped: bool) -> anyhow::Result<DumpFile> {
    DumpFile::open(path, mapped).with_context(|| format!("cannot open {}", path.display()))
}

/// What a source shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A process: it is a minidump.
    Process,
    /// A process: it is an ELF core.
    ProcessCore,
    /// A machine.
    Machine,
}

/// Files that are known and no dumps, by their first bytes.
const OTHERS: [(&[u8], &str); 6] = [
    (b"MSCF", "a CAB; unpack the dump that is in it"),
    (b"PK\x03\x04", "a zip archive; unpack the dump that is in it"),
    (b"\x28\xB5\x2F\xFD", "compressed with zstd; unpack it"),
    (b"\x1F\x8B\x08", "compressed with gzip; unpack it"),
    (b"USERDU", "a user dump of the time before minidumps"),
    (b"\x7FELF", "an ELF file, but no core"),
];

/// The smallest file that is taken for an image of memory without being told so: no machine is smaller.
const SMALLEST_IMAGE: u64 = 1 << 20;

/// Tells what the file shows. One that says nothing of itself is a raw image of memory where `has_map` says so, or
/// where it has the size of one; whether there is a machine in it shows when it is opened.
///
/// # Errors
/// What is known of a file that is no source. [`Misuse`] for a map of a file that needs none.
pub(crate) fn shown(file: &DumpFile, path: &Path, has_map: bool) -> anyhow::Result<Shown> {
    let name = path.display();
    let container = detect(file).with_context(|| name.to_string())?;
    if has_map && container != Container::Raw {
        let kind = container.name();
        let message = "--memory-map is refused: it is for raw images of memory, and";
        return Err(Misuse(format!(
            "{message} {name} is a {kind}, which says itself where its memory lies"
        ))
        .into());
    }
    match container {
        Container::Minidump => return Ok(Shown::Process),
        Container::ProcessCore => return Ok(Shown::ProcessCore),
        Container::Raw if !has_map => {}
        _ => return Ok(Shown::Machine),
    }
    let size = file.size();
    let mut start = [0; 8];
    let start = &mut start[..usize::try_from(size).unwrap_or(usize::MAX).min(8)];
    file.read_exact_at(FileOffset(0), start)
        .with_context(|| name.to_string())?;
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        bail!("{name}: {what}");
    }
    if size < SMALLEST_IMAGE || !size.is_multiple_of(PAGE_SIZE) {
        bail!("{name}: not a dump: {size} bytes that start with {start:02x?}, neither a dump's signature nor memory");
    }
    Ok(Shown::Machine)
}

/// How to open a machine, with the map in this file.
pub(crate) fn machine_options(memory_map: Option<&Path>) -> anyhow::Result<MachineOptions> {
    let memory_map = memory_map.map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("--memory-map {}", path.display()))?;
        MemoryMap::parse(&text).with_context(|| format!("--memory-map {}", path.display()))
    });
    Ok(MachineOptions {
        memory_map: memory_map.transpose()?,
        ..MachineOptions::default()
    })
}

/// The process in an ELF core. A core does not tell when it was made: its file does.
pub(crate) fn process_core<'s>(file: &'s DumpFile, path: &Path) -> anyhow::Result<LinuxProcess<'s>> {
    let process = linux::core::open(file).with_context(|| path.display().to_string())?;
    let modified = file.file().metadata().and_then(|metadata| metadata.modified()).ok();
    let since_1970 = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    Ok(match since_1970 {
        Some(since) => process.captured_at(since.as_secs()),
        None => process,
    })
}

/// The machine in a file.
pub(crate) fn image<'s>(source: &'s MachineFile<'s>, path: &Path) -> anyhow::Result<MachineImage<'s>> {
    MachineImage::open(source).map_err(|error| match error {
        Error::Malformed(_) if source.container() == Container::Raw => {
            let message = "not a dump: it has no signature, and as an image of physical memory it shows no machine that \
                           runs Windows. Where the image has holes, --memory-map says where its parts belong";
            anyhow!("{}: {message} ({error})", path.display())
        }
        error => anyhow::Error::from(error).context(path.display().to_string()),
    })
}
