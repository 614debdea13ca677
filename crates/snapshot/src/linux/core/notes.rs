//! What the notes of a process's core say.

use std::ops::ControlFlow;

use dotdump_format::core_note::{
    NT_386_TLS, NT_ARM_TLS, NT_AUXV, NT_FILE, NT_PRFPREG, NT_PRPSINFO, NT_PRSTATUS, NT_PRXFPREG, NT_SIGINFO,
    NT_X86_XSTATE, PrPsInfo32, PrPsInfo64, PrStatusAmd64, PrStatusArm64, PrStatusHead32, PrStatusHead64, PrStatusX86,
    UserDesc,
};
use dotdump_format::minidump::linux_auxv::AuxvType;
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Record, VirtAddr, VirtRange};
use zerocopy::IntoBytes;

use super::super::facts::{LinuxArchitecture, LinuxSignal, LinuxThread, ThreadStat};
use crate::core_notes::walk::{Note, walk};

/// Payloads above this size in bytes are not looked at. The largest is the list of mapped files, which Linux limits to
/// 4 MiB, and to 16 MiB where that is changed (`core_file_note_size_limit`).
const LARGEST_PAYLOAD: u32 = 16 << 20;

/// How many bytes of notes are read, of all segments.
const LARGEST_NOTES: u64 = 64 << 20;

/// The size of a `siginfo_t` in bytes.
const SIGINFO_SIZE: usize = 128;

/// The signal by which a debugger stops a process to look at it.
const SIGSTOP: u32 = 19;

/// The notes of a process's core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessNotes {
    /// The processor.
    pub architecture: LinuxArchitecture,
    /// The threads in the order of the notes: the first one got the signal.
    pub threads: Vec<LinuxThread>,
    /// The signal that ended the process; `None` where it runs on, as behind a debugger's copy.
    pub signal: Option<LinuxSignal>,
    /// The process as a whole (`NT_PRPSINFO`).
    pub info: Option<ProcessInfo>,
    /// The auxiliary vector as it lies in `/proc/PID/auxv`; empty where there is none.
    pub auxv: Vec<u8>,
    /// The mapped files, in the order of the note.
    pub files: Vec<MappedFile>,
    /// What was told by other things than a record that says so.
    pub guesses: Vec<String>,
}

/// What a core says of a process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its id.
    pub process_id: u32,
    /// The letter of its state.
    pub state: u8,
    /// The nice value of its main thread.
    pub nice: i32,
    /// The name of its main thread.
    pub name: Vec<u8>,
    /// The first 79 bytes of its command line, with spaces between the arguments.
    pub arguments: Vec<u8>,
}

/// A part of a file that is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Its addresses.
    pub range: VirtRange,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// The path, with ` (deleted)` behind it where the file is gone.
    pub path: Vec<u8>,
}

/// Times of a thread in microseconds: in user mode and in the kernel.
type Times = (u64, u64);

/// What is gathered on the walk.
struct Reader {
    notes: ProcessNotes,
    times: Vec<Times>,
    siginfo: Option<Vec<u8>>,
    /// `si_signo`, `si_code` and `si_errno` of the first thread's status, where there is no `NT_SIGINFO`.
    signal: Option<[u32; 3]>,
}

impl ProcessNotes {
    /// Reads the notes in `places`: offsets and sizes in bytes. Those of no use here are passed over, and so are those
    /// that are damaged, which `findings` tell.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn read(
        source: &dyn ReadAt,
        places: &[(FileOffset, u64)],
        architecture: LinuxArchitecture,
        findings: &mut Findings,
    ) -> Result<Self, Error> {
        let mut reader = Reader {
            notes: Self {
                architecture,
                threads: Vec::new(),
                signal: None,
                info: None,
                auxv: Vec::new(),
                files: Vec::new(),
                guesses: Vec::new(),
            },
            times: Vec::new(),
            siginfo: None,
            signal: None,
        };
        let mut left = LARGEST_NOTES;
        for &(offset, size) in places {
            if size > left {
                let message = format!("{size:#x} bytes of notes, of which {left:#x} are read");
                findings.add(offset, "notes", message);
            }
            let size = size.min(left);
            left -= size;
            walk(source, offset, size, findings, &mut |note, findings| {
                reader.take(source, note, findings)?;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(reader.finish())
    }

    /// The main thread: the one whose id is the process's, or the first one.
    #[must_use]
    pub fn main_thread(&self) -> Option<&LinuxThread> {
        let id = self.process_id();
        let main = self.threads.iter().find(|thread| Some(thread.id) == id);
        main.or(self.threads.first())
    }

    /// The id of the process; `None` where neither the process's note nor a thread tells it.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        let info = self.info.as_ref().map(|info| info.process_id);
        info.or_else(|| self.threads.iter().map(|thread| thread.id).min())
    }

    /// The value of the first entry of this type in the auxiliary vector.
    #[must_use]
    pub fn auxv_value(&self, wanted: AuxvType) -> Option<u64> {
        let size = self.architecture.word_size();
        let word = |bytes: &[u8]| word(bytes, size);
        let mut entries = self.auxv.chunks_exact(2 * size);
        entries.find_map(|entry| {
            let (kind, value) = entry.split_at(size);
            (word(kind)? == wanted.0).then(|| word(value))?
        })
    }

    /// Ticks a second of times in [`ThreadStat`].
    pub(super) fn ticks_per_second(&self) -> u64 {
        let told = self.auxv_value(AuxvType::CLKTCK);
        told.filter(|ticks| (1..=1_000_000).contains(ticks)).unwrap_or(100)
    }
}

impl Reader {
    fn take(&mut self, source: &dyn ReadAt, note: &Note, findings: &mut Findings) -> Result<(), Error> {
        let known = matches!(
            (note.name(), note.note_type),
            (
                b"CORE",
                NT_PRSTATUS | NT_PRFPREG | NT_PRPSINFO | NT_SIGINFO | NT_AUXV | NT_FILE
            ) | (b"LINUX", NT_PRXFPREG | NT_X86_XSTATE | NT_386_TLS | NT_ARM_TLS)
        );
        if !known {
            return Ok(());
        }
        let Some(payload) = note.payload(source, LARGEST_PAYLOAD)? else {
            let message = format!("{:#x} bytes, of which none are read", note.size);
            findings.add(note.place, "note", message);
            return Ok(());
        };
        let good = match note.note_type {
            NT_PRSTATUS => self.status(&payload),
            NT_PRPSINFO => self.info(&payload),
            NT_SIGINFO => self.siginfo(&payload),
            NT_AUXV => {
                self.notes.auxv = payload.into_owned();
                true
            }
            NT_FILE => self.files(&payload),
            _ => self.registers(note.note_type, &payload),
        };
        if !good {
            let message = format!(
                "{:#x} bytes of type {:#x}, which are not what {:?} programs have",
                payload_size(note),
                note.note_type,
                self.notes.architecture
            );
            findings.add(note.place, "note", message);
        }
        Ok(())
    }

    /// A thread begins.
    fn status(&mut self, payload: &[u8]) -> bool {
        let general = match self.notes.architecture {
            LinuxArchitecture::Amd64 => exactly::<PrStatusAmd64>(payload).map(|it| it.registers.as_bytes().to_vec()),
            LinuxArchitecture::X86 => exactly::<PrStatusX86>(payload).map(|it| it.registers.as_bytes().to_vec()),
            LinuxArchitecture::Arm64 => exactly::<PrStatusArm64>(payload).map(|it| {
                let last = [it.sp, it.pc, it.pstate];
                [it.x.as_bytes(), last.as_bytes()].concat()
            }),
        };
        let (Some(general), Some(head)) = (general, Head::read(self.notes.architecture, payload)) else {
            return false;
        };
        if self.notes.threads.is_empty() {
            self.signal = Some(head.signal).filter(|[number, ..]| *number != 0);
        }
        self.times.push(head.times);
        self.notes.threads.push(LinuxThread {
            id: head.thread_id,
            general,
            ..LinuxThread::default()
        });
        true
    }

    fn info(&mut self, payload: &[u8]) -> bool {
        let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let nice = |byte: u8| i32::from(i8::from_ne_bytes([byte]));
        let info = match self.notes.architecture {
            LinuxArchitecture::X86 => exactly::<PrPsInfo32>(payload).map(|info| ProcessInfo {
                process_id: info.process_id.get(),
                state: info.state_letter,
                nice: nice(info.nice),
                name: text(&info.file_name),
                arguments: text(&info.arguments),
            }),
            LinuxArchitecture::Amd64 | LinuxArchitecture::Arm64 => {
                exactly::<PrPsInfo64>(payload).map(|info| ProcessInfo {
                    process_id: info.process_id.get(),
                    state: info.state_letter,
                    nice: nice(info.nice),
                    name: text(&info.file_name),
                    arguments: text(&info.arguments),
                })
            }
        };
        let good = info.is_some();
        self.notes.info = info.or(self.notes.info.take());
        good
    }

    /// Debuggers write one for each thread; that of the first one counts.
    fn siginfo(&mut self, payload: &[u8]) -> bool {
        let good = payload.len() == SIGINFO_SIZE;
        if good && self.siginfo.is_none() && self.notes.threads.len() <= 1 {
            self.siginfo = Some(payload.to_vec());
        }
        good
    }

    fn files(&mut self, payload: &[u8]) -> bool {
        match mapped_files(payload, self.notes.architecture.word_size()) {
            Some(files) => {
                self.notes.files = files;
                true
            }
            None => false,
        }
    }

    /// More registers of the thread that was begun last.
    fn registers(&mut self, note_type: u32, payload: &[u8]) -> bool {
        let architecture = self.notes.architecture;
        let Some(thread) = self.notes.threads.last_mut() else {
            return false;
        };
        let bytes = payload.to_vec();
        match (note_type, architecture) {
            (NT_PRFPREG, _) => thread.floating_point = Some(bytes),
            (NT_PRXFPREG, LinuxArchitecture::X86) => thread.fxsave = Some(bytes),
            (NT_X86_XSTATE, LinuxArchitecture::X86 | LinuxArchitecture::Amd64) => thread.xstate = Some(bytes),
            (NT_ARM_TLS, LinuxArchitecture::Arm64) => thread.tls_base = word(payload, 8),
            (NT_386_TLS, LinuxArchitecture::X86) => thread.tls_base = gs_base(&thread.general, payload),
            _ => return false,
        }
        true
    }

    fn finish(self) -> ProcessNotes {
        let Self {
            mut notes,
            times,
            siginfo,
            signal,
        } = self;
        notes.signal = notes.threads.first().and_then(|thread| {
            let siginfo = match (siginfo, signal) {
                (Some(siginfo), _) => siginfo,
                (None, Some(fields)) => {
                    let guess =
                        "the core has no siginfo_t: the signal is told by the status of its thread, without address";
                    notes.guesses.push(guess.to_owned());
                    siginfo_of(fields)
                }
                (None, None) => return None,
            };
            let number = word(&siginfo, 4)?;
            let is_real = number != 0 && number != u64::from(SIGSTOP);
            is_real.then_some(LinuxSignal {
                thread_id: thread.id,
                siginfo,
            })
        });
        notes.give_times(&times);
        if let Some(info) = &notes.info {
            let (id, name) = (info.process_id, info.name.clone());
            if let Some(main) = notes.threads.iter_mut().find(|thread| thread.id == id) {
                main.name = Some(name).filter(|name| !name.is_empty());
            }
        }
        notes
    }
}

impl ProcessNotes {
    /// The times of the main thread are those of all: its own are what is left.
    fn give_times(&mut self, times: &[Times]) {
        let ticks = self.ticks_per_second();
        let to_ticks = |micros: u64| micros.saturating_mul(ticks) / 1_000_000;
        let main = self.process_id();
        let (mut others, mut total) = ((0_u64, 0_u64), (0, 0));
        for (thread, times) in self.threads.iter().zip(times) {
            if Some(thread.id) == main {
                total = *times;
            } else {
                others = (others.0.saturating_add(times.0), others.1.saturating_add(times.1));
            }
        }
        for (thread, times) in self.threads.iter_mut().zip(times) {
            let is_main = Some(thread.id) == main;
            let (user, system) = match is_main {
                true => (total.0.saturating_sub(others.0), total.1.saturating_sub(others.1)),
                false => *times,
            };
            let info = self.info.as_ref().filter(|_| is_main);
            if user == 0 && system == 0 && info.is_none() {
                continue;
            }
            thread.stat = Some(ThreadStat {
                state: info.map_or(0, |info| info.state),
                user_time: to_ticks(user),
                system_time: to_ticks(system),
                start_time: 0,
                nice: info.map_or(0, |info| info.nice),
            });
        }
    }
}

/// What is used of the front of an `elf_prstatus`.
struct Head {
    /// `si_signo`, `si_code` and `si_errno`.
    signal: [u32; 3],
    thread_id: u32,
    times: Times,
}

impl Head {
    fn read(architecture: LinuxArchitecture, payload: &[u8]) -> Option<Self> {
        let micros = |[seconds, micros]: [u64; 2]| seconds.saturating_mul(1_000_000).saturating_add(micros);
        let signal = |fields: [u32; 3], current: u16| match fields {
            [0, code, error] => [u32::from(current), code, error],
            fields => fields,
        };
        match architecture {
            LinuxArchitecture::X86 => PrStatusHead32::read(payload, Endian::Little).map(|head| Self {
                signal: signal(head.signal.map(|field| field.get()), head.current_signal.get()),
                thread_id: head.thread_id.get(),
                times: (
                    micros(head.user_time.map(|time| u64::from(time.get()))),
                    micros(head.system_time.map(|time| u64::from(time.get()))),
                ),
            }),
            LinuxArchitecture::Amd64 | LinuxArchitecture::Arm64 => {
                PrStatusHead64::read(payload, Endian::Little).map(|head| Self {
                    signal: signal(head.signal.map(|field| field.get()), head.current_signal.get()),
                    thread_id: head.thread_id.get(),
                    times: (
                        micros(head.user_time.map(|time| time.get())),
                        micros(head.system_time.map(|time| time.get())),
                    ),
                })
            }
        }
    }
}

/// A `siginfo_t` of these fields of a status, in which the last two stand the other way round.
fn siginfo_of([number, code, error]: [u32; 3]) -> Vec<u8> {
    let mut siginfo: Vec<u8> = [number, error, code]
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    siginfo.resize(SIGINFO_SIZE, 0);
    siginfo
}

/// A record that is all of a note.
fn exactly<T: Record>(payload: &[u8]) -> Option<T> {
    let record = T::read(payload, Endian::Little);
    record.filter(|_| payload.len() == T::SIZE)
}

fn payload_size(note: &Note) -> u64 {
    u64::from(note.size)
}

/// The word of `size` bytes at the start of `bytes`.
fn word(bytes: &[u8], size: usize) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..size)?.copy_from_slice(bytes.get(..size)?);
    Some(u64::from_le_bytes(word))
}

/// The base of the segment that `gs` selects: that of thread-local data.
fn gs_base(general: &[u8], segments: &[u8]) -> Option<u64> {
    /// The place of `gs` among the general registers.
    const GS: usize = 10;

    let selector = word(general.get(4 * GS..)?, 4)? & 0xFFFF;
    let mut segments = segments.chunks_exact(UserDesc::SIZE);
    segments.find_map(|segment| {
        let segment = UserDesc::read(segment, Endian::Little)?;
        let is_selected = selector != 0 && u64::from(segment.entry_number.get()) == selector >> 3;
        is_selected.then(|| u64::from(segment.base_address.get()))
    })
}

/// The files of an `NT_FILE`; `None` where they are not all there.
fn mapped_files(payload: &[u8], size: usize) -> Option<Vec<MappedFile>> {
    let (count, page) = (word(payload, size)?, word(payload.get(size..)?, size)?);
    let count = usize::try_from(count).ok()?;
    let table = payload.get(2 * size..)?;
    let table_size = count.checked_mul(3 * size)?;
    let mut names = table.get(table_size..)?.split(|byte| *byte == 0);
    let entries = table[..table_size].chunks_exact(3 * size);
    let mut files = Vec::new();
    for entry in entries {
        let field = |index: usize| word(&entry[index * size..], size);
        let (start, end, offset) = (field(0)?, field(1)?, field(2)?);
        let path = names.next()?;
        if start < end {
            files.push(MappedFile {
                range: VirtRange::new(VirtAddr(start), VirtAddr(end)),
                offset: offset.saturating_mul(page),
                path: path.to_vec(),
            });
        }
    }
    Some(files)
}
