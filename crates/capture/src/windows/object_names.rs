//! Names of objects, without waiting for those that do not answer.
//!
//! The name of a file is asked of its driver. A pipe's waits for its lock, which whoever reads from the pipe holds until
//! something comes: the name of a pipe is never asked for. Whether a file is a pipe the system knows by itself. For
//! other drivers that wait, each question is asked by a thread that is given some time, and left alone after that.

use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use dotdump_format::minidump::name::Name;
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType};

use super::handles::information;
use super::native::raw;

/// `ObjectNameInformation`.
const NAME: u32 = 1;
/// For how long a name is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// After so many that did not answer no more is asked of files: each costs a thread.
const MOST_UNANSWERED: u64 = 8;

/// A thread that asks for names.
struct Asker {
    questions: Sender<OwnedHandle>,
    answers: Receiver<Option<Vec<u16>>>,
}

impl Asker {
    fn start() -> Option<Self> {
        let (questions, asked) = channel::<OwnedHandle>();
        let (answer, answers) = channel();
        let asker = thread::Builder::new().name("object names".to_owned());
        asker
            .spawn(move || {
                for object in asked {
                    if answer.send(name(&object)).is_err() {
                        break;
                    }
                }
            })
            .ok()?;
        Some(Self { questions, answers })
    }
}

/// Asks for names of objects.
#[derive(Default)]
pub(super) struct ObjectNames {
    asker: Option<Asker>,
    unanswered: u64,
}

impl ObjectNames {
    /// How many did not answer.
    pub(super) const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The name of an object of a type; `None` where it has none or does not tell.
    pub(super) fn of(&mut self, object: OwnedHandle, kind: Option<&Name>) -> Option<Vec<u16>> {
        if kind.is_none_or(|kind| kind.text() != "File") {
            return name(&object);
        }
        // SAFETY: the handle is open.
        let file_type = unsafe { GetFileType(raw(object.as_handle())) };
        if file_type == FILE_TYPE_PIPE || self.unanswered >= MOST_UNANSWERED {
            return None;
        }
        if self.asker.is_none() {
            self.asker = Asker::start();
        }
        let asker = self.asker.as_ref()?;
        asker.questions.send(object).ok()?;
        match asker.answers.recv_timeout(PATIENCE) {
            Ok(name) => name,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // It may answer one day, to nobody.
                self.asker = None;
                self.unanswered += 1;
                None
            }
        }
    }
}

fn name(object: &OwnedHandle) -> Option<Vec<u16>> {
    information(object.as_handle(), NAME)?.unicode_string(0)
}
