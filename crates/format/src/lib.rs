//! The file formats of Windows crash dumps: reading them, and laying out new ones.
//!
//! # A minidump from zero
//!
//! A minidump is a small file system without names. It starts with a 32-byte [header](minidump::Header), which says
//! where the *directory* is; the directory lists *streams*, each with a [type](minidump::StreamType), a size and an
//! offset (an *RVA*: 32 bits, from the start of the file). A stream is a table of records, and records point to
//! further things by RVA: strings, register sets, memory.
//!
//! ```text
//! 0x00  header      "MDMP", version, number of streams, ──┐ where the directory is
//! 0x20  directory   ◄─────────────────────────────────────┘
//!         7 SystemInfo   56 bytes at 0x044 ──► processor and system
//!         3 ThreadList  100 bytes at 0x080 ──► count, then 48 bytes for each thread ──► CONTEXT, stack
//!         9 Memory64List 48 bytes at 0x0E4 ──► count, offset of the data, then start and size of each range
//!       ...
//!       memory      the bytes of all ranges, one after the other, to the end of the file
//! ```
//!
//! Everything is little-endian and may lie at any offset: nothing is aligned. (Dumps of big-endian machines by
//! Breakpad are the exception: there everything is swapped, the signature first.) Offsets of 0 mean "absent".
//! Memory is in a [MemoryList](minidump::memory_list), where each range has its own RVA, or, in dumps with all memory,
//! in a [Memory64List](minidump::memory64_list), whose data may pass 4 GiB.
//!
//! # Reading
//!
//! [`Minidump::open`](minidump::Minidump::open) reads the header and the directory, nothing else. A stream is read when
//! it is asked for by type, and a list of records ([`Table`]) stays in the file while it is walked, so that memory does
//! not grow with the numbers in a file. What is broken but does not spoil the rest becomes a [`Finding`], with its
//! place, what was found and what was expected.
//!
//! ```
//! use dotdump_format::minidump::thread_list::ThreadList;
//! use dotdump_format::minidump::{Minidump, StreamType};
//! use dotdump_format::Findings;
//!
//! // A header, a directory with one entry, and a ThreadList with one thread: 32 + 12 + 4 + 48 bytes.
//! let mut file = Vec::new();
//! file.extend(b"MDMP");
//! file.extend(0xA793_u32.to_le_bytes()); // version
//! file.extend(1_u32.to_le_bytes()); // number of streams
//! file.extend(32_u32.to_le_bytes()); // where the directory is
//! file.extend([0; 16]); // checksum, time, flags
//! file.extend(3_u32.to_le_bytes()); // the stream's type: ThreadList
//! file.extend(52_u32.to_le_bytes()); // its size
//! file.extend(44_u32.to_le_bytes()); // its offset
//! file.extend(1_u32.to_le_bytes()); // the number of threads
//! file.extend(0x1234_u32.to_le_bytes()); // the thread's id
//! file.extend([0; 44]); // the rest of its record
//!
//! let dump = Minidump::open(&file)?;
//! assert_eq!(dump.streams().next().unwrap().stream_type, StreamType::THREAD_LIST);
//! let mut findings = Findings::default();
//! let list: ThreadList = dump.get(&mut findings)?.expect("the directory lists it");
//! assert_eq!(list.threads.len(), 1);
//! assert_eq!(list.threads.get(0)?.thread_id, 0x1234);
//! assert!(findings.is_empty());
//!
//! // Cut off in the middle of the thread, the list has no whole record any more, and a finding tells.
//! file.truncate(80);
//! let dump = Minidump::open(&file)?;
//! let list: ThreadList = dump.get(&mut findings)?.unwrap();
//! assert_eq!((list.threads.len(), findings.total()), (0, 1));
//! # Ok::<(), dotdump_format::Error>(())
//! ```
//!
//! The bytes can come from anything that implements [`ReadAt`]: a slice, a map, a file that is read at offsets.
//!
//! # Writing
//!
//! Records point at each other, so a file is laid out before it is written: a [`Layout`](layout::Layout) hands out
//! offsets, room is reserved for a record whose targets come later, and memory is described instead of held. The
//! result is a [`Plan`](layout::Plan): pieces in file order whose size is known before the first byte is written. A
//! typed stream lays itself out by [`WriteStream`](minidump::WriteStream).
//!
//! ```
//! use dotdump_format::layout::{Layout, Piece};
//! use dotdump_format::minidump::comment::CommentW;
//! use dotdump_format::minidump::{DirectoryEntry, Header, Minidump, StreamType, VERSION_NUMBER, WriteStream};
//! use dotdump_format::minidump::write_directory;
//! use dotdump_format::{Endian, Findings, Record};
//!
//! let mut layout = Layout::new(Endian::Little);
//! let header = layout.reserve(Header::SIZE);
//! let directory = layout.reserve(DirectoryEntry::SIZE);
//! let location = CommentW::from("out of memory").write(&mut layout)?;
//! let entry = DirectoryEntry { stream_type: StreamType::COMMENT_W.0.into(), location };
//! let record = Header { version: VERSION_NUMBER.into(), ..Header::default() };
//! write_directory(&mut layout, header, directory, record, &[entry])?;
//!
//! let plan = layout.finish();
//! let [Piece::Bytes(file)] = plan.pieces.as_slice() else { panic!("nothing but bytes was laid out") };
//! assert_eq!(file.len() as u64, plan.size);
//! let dump = Minidump::open(file)?;
//! let comment: CommentW = dump.get(&mut Findings::default())?.unwrap();
//! assert_eq!(comment.text(), "out of memory");
//! # Ok::<(), dotdump_format::Error>(())
//! ```
//!
//! # Kernel dumps
//!
//! A dump of a whole machine has a [header](kernel::header) of fixed size (0x1000 bytes of 32-bit Windows, 0x2000 of
//! 64-bit), and behind it what the header's [type](kernel::DumpType) says: pages of physical memory, which a short list
//! of [runs](kernel::physical_memory), a [bitmap](kernel::bitmap) or [ranges](kernel::range) number, or copies of a few
//! structures (a [triage dump](kernel::triage)). Blocks of [secondary data](kernel::secondary_data) may follow.
//!
//! ```text
//! 0x0000  header      "PAGEDU64", bugcheck, registers, root of the page tables, where debuggers start
//! 0x2000  body        runs: the pages; bitmap or ranges: which pages there are, then the pages; triage: its sections
//!    ...  "DumpBlob"  secondary data
//! ```
//!
//! Windows fills a header with `PAGE` over and over, and then stores what it knows: [`kernel::filler`] tells values from
//! what was never set, and the methods of [`Header`](kernel::Header) answer `None` for the latter.
//!
//! ```
//! use dotdump_format::kernel::{Body, DumpType, Header, KernelDump, Machine, MemoryRun};
//! use dotdump_format::{FileOffset, Pfn};
//!
//! // A complete dump of a machine that has two pages.
//! let mut header = Header::unset(Machine::Amd64);
//! header.set_physical_memory(&[MemoryRun { base_page: Pfn(0x100), page_count: 2 }])?;
//! if let Header::Dump64(fields) = &mut header {
//!     fields.machine_image_type = 0x8664.into();
//!     fields.dump_type = DumpType::FULL.0.into();
//!     fields.bug_check_code = 0xE2.into();
//! }
//! let mut file = header.as_bytes().to_vec();
//! file.extend([0; 0x2000]);
//!
//! let dump = KernelDump::open(&file)?;
//! assert_eq!(dump.header.bug_check_code(), Some(0xE2));
//! assert_eq!(dump.header.number_processors(), None);
//! assert_eq!(dump.body, Body::Runs { first_page: FileOffset(0x2000), pages: 2 });
//! assert!(dump.findings.is_empty());
//! # Ok::<(), dotdump_format::Error>(())
//! ```
//!
//! Which page is where, page tables, and the kernel's own lists are the matter of `dotdump-snapshot`.
//!
//! # Names
//!
//! Types carry the names of the Windows headers (`minidumpapiset.h`, `winnt.h`) in Rust's spelling, without their
//! prefix: `MINIDUMP_MEMORY_INFO` is [`MemoryInfo`](minidump::memory_info_list::MemoryInfo). Where a fact does not come
//! from such a header, the documentation names its source.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
pub mod core_note;
pub mod error;
pub mod kdump;
pub mod kernel;
pub mod layout;
pub mod minidump;
pub mod pe;
pub mod record;
pub mod source;
pub mod table;
#[cfg(test)]
mod test_dump;
pub mod time;

pub use addr::{FileOffset, PAGE_SIZE, Pfn, PhysAddr, Rva, VirtAddr, VirtRange};
pub use error::{Error, Finding, Findings};
pub use record::{Endian, Record};
pub use source::ReadAt;
pub use table::Table;
