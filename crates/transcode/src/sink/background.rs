//! Writing a file on a thread of its own, while the next bytes are read.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::gather::GATHERED;
use super::platform;

/// How many writes may wait. With the one that is being written and the one that is being filled they take 2 MiB.
const WAITING: usize = 14;

/// The thread that writes.
pub(super) struct Background {
    writes: SyncSender<(Vec<u8>, u64)>,
    /// Buffers whose bytes are written.
    free: Receiver<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Background {
    /// Starts the thread for `file`.
    pub(super) fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (writes, waiting) = sync_channel(WAITING);
        let (used, free) = channel();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write(&file, &waiting, &used))?;
        Ok(Self { writes, free, thread })
    }

    /// Hands `bytes` over. An error may be that of an earlier write.
    pub(super) fn write_all_at(this: &mut Option<Self>, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(background) = this else {
            return Err(io::Error::other("an earlier write failed"));
        };
        let mut buffer = background
            .free
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(GATHERED));
        buffer.clear();
        buffer.extend_from_slice(bytes);
        if background.writes.send((buffer, offset)).is_ok() {
            return Ok(());
        }
        // The thread only ends by itself where it failed.
        Self::finish(this)?;
        Err(io::Error::other("an earlier write failed"))
    }

    /// Waits until all is written.
    pub(super) fn finish(this: &mut Option<Self>) -> io::Result<()> {
        let Some(Self { writes, thread, .. }) = this.take() else {
            return Ok(());
        };
        drop(writes);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What the thread does, until there is nothing more to come.
fn write(file: &File, waiting: &Receiver<(Vec<u8>, u64)>, used: &Sender<Vec<u8>>) -> io::Result<()> {
    for (buffer, offset) in waiting {
        platform::write_all_at(file, &buffer, offset)?;
        // Nobody takes it back when the last bytes are written.
        let _ = used.send(buffer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_get_where_they_belong() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut background = Some(Background::start(file.as_file()).expect("a thread"));
        let mut expected = Vec::new();
        for index in 0..100_u8 {
            let bytes = vec![index; 1000 + usize::from(index)];
            let offset = expected.len() as u64;
            Background::write_all_at(&mut background, &bytes, offset).expect("it is taken");
            expected.extend(bytes);
        }
        Background::finish(&mut background).expect("all is written");
        assert_eq!(std::fs::read(file.path()).expect("the file"), expected);
    }

    #[test]
    fn a_failed_write_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"").expect("a file");
        let file = File::open(path).expect("only to read");
        let mut background = Some(Background::start(&file).expect("a thread"));
        let mut results = (0..1000).map(|_| Background::write_all_at(&mut background, &[1], 0));
        let error = results.find_map(Result::err);
        let error = error.or_else(|| Background::finish(&mut background).err());
        assert!(
            error.is_some_and(|error| error.raw_os_error().is_some()),
            "the system's own error"
        );
    }
}
