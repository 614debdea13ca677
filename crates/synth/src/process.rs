//! Processes: `EPROCESS`, page tables, threads.

use dotdump_format::{PhysAddr, VirtAddr};
use dotdump_snapshot::machine::Process;

use crate::build::Build;
use crate::error::BuildError;
use crate::kernel_memory::utf16;
use crate::truth::{ProcessTruth, Space};
use crate::user::UserSpace;

const NAMES: [&str; 12] = [
    "System",
    "Registry",
    "smss.exe",
    "csrss.exe",
    "wininit.exe",
    "services.exe",
    "lsass.exe",
    "svchost.exe",
    "svchost.exe",
    "explorer.exe",
    "notepad.exe",
    "fakeapp.exe",
];

/// The name of the process that is in every machine with 32-bit programs: the last one.
const WOW64_NAME: &str = "old32.exe";

fn name(index: usize, last: bool, wow64: bool) -> String {
    if last && wow64 {
        return WOW64_NAME.to_owned();
    }
    NAMES
        .get(index)
        .map_or_else(|| format!("proc{index}.exe"), |name| (*name).to_owned())
}

impl Build<'_> {
    /// All processes, the System process first, linked.
    pub(crate) fn processes(&mut self) -> Result<Vec<ProcessTruth>, BuildError> {
        let count = self.options.processes.max(1);
        let wow64 = self.profile.process.wow64_process.is_some() && count > 2;
        let mut processes = Vec::new();
        for index in 0..count {
            let last = index + 1 == count;
            let name = name(index, last, wow64);
            processes.push(if index == 0 {
                self.system()?
            } else {
                self.process(index, &name, last && wow64)?
            });
        }
        let links = self.profile.process.active_process_links;
        let nodes: Vec<u64> = processes
            .iter()
            .map(|process| process.process.eprocess.0 + links)
            .collect();
        self.world.link(self.kernel.symbol("PsActiveProcessHead"), &nodes)?;
        let system = processes[0].process.eprocess.0;
        self.world
            .pointer(self.kernel.symbol("PsInitialSystemProcess"), system)?;
        self.world.pointer(self.kernel.symbol("PsIdleProcess"), system)?;
        Ok(processes)
    }

    /// The System process: no user mode, and a thread for each processor and some more.
    fn system(&mut self) -> Result<ProcessTruth, BuildError> {
        let root = self.world.root;
        let eprocess = self.world.allocate(self.profile.process.size)?;
        let shadow = if self.options.shadow {
            Some(self.shadow_root(None)?)
        } else {
            None
        };
        let process = Process {
            eprocess: VirtAddr(eprocess),
            id: 4,
            parent_id: Some(0),
            name: "System".to_owned(),
            directory_table_base: PhysAddr(root),
            user_directory_table_base: shadow.map(PhysAddr),
            peb: VirtAddr(0),
        };
        let start = self.kernel.symbol("KiIdleLoop");
        let threads = (0..u64::from(self.options.processors) + 2)
            .map(|index| self.thread(eprocess, 4, 8 + 4 * index, start, None))
            .collect::<Result<Vec<_>, _>>()?;
        let truth = ProcessTruth {
            process,
            threads,
            modules: Vec::new(),
            wow64_peb: None,
            command_line: String::new(),
        };
        self.fill(&truth, None)?;
        Ok(truth)
    }

    fn process(&mut self, index: usize, name: &str, wow64: bool) -> Result<ProcessTruth, BuildError> {
        let id = 88 + 60 * index as u64;
        let root = self.world.new_root(Some(id))?;
        let eprocess = self.world.allocate(self.profile.process.size)?;
        // The pages that user mode's threads need come first: the kernel's structures point to them.
        let mut user = UserSpace::new(id, root, wow64, &self.world);
        let contents = self.user_memory(&mut user, name, wow64)?;
        // Programs that run with all rights anyway are not shielded from the kernel.
        let shadowed = self.options.shadow && name != "smss.exe";
        let shadow = if shadowed {
            Some(self.shadow_root(Some(id))?)
        } else {
            None
        };
        let threads = contents
            .threads
            .iter()
            .zip(0..)
            .map(|(thread, number)| self.thread(eprocess, id, id + 4 + 4 * number, contents.start, Some(*thread)))
            .collect::<Result<Vec<_>, _>>()?;
        for (thread, number) in contents.threads.iter().zip(0..) {
            self.client_id(&user, thread.teb, id, id + 4 + 4 * number, wow64)?;
        }
        if let Some(shadow) = shadow {
            self.world.share_user_half(root, shadow)?;
        }
        let process = Process {
            eprocess: VirtAddr(eprocess),
            id,
            parent_id: Some(4),
            name: name.chars().take(14).collect(),
            directory_table_base: PhysAddr(root),
            user_directory_table_base: shadow.map(PhysAddr),
            peb: VirtAddr(contents.peb),
        };
        let truth = ProcessTruth {
            process,
            threads,
            modules: contents.modules,
            wow64_peb: contents.wow64_peb.map(VirtAddr),
            command_line: contents.command_line,
        };
        self.fill(&truth, Some(contents.image))?;
        Ok(truth)
    }

    /// Writes the `EPROCESS`.
    fn fill(&mut self, truth: &ProcessTruth, image: Option<u64>) -> Result<(), BuildError> {
        let fields = self.profile.process;
        let process = &truth.process;
        let at = process.eprocess.0;
        let token = self.world.allocate(0x100)?;
        let handles = self.handle_table(process.id)?;
        let vads = self.world.allocate(0x40)?;
        let audit = match image {
            Some(_) => self.object_name(&format!(
                "\\Device\\HarddiskVolume1\\Windows\\System32\\{}",
                process.name
            ))?,
            None => 0,
        };
        let world = &mut self.world;
        world.write(at, &[3, 0, 0xB6, 0])?; // DISPATCHER_HEADER of a process
        world.link(at + 8, &[])?;
        world.pointer(at + fields.directory_table_base, process.directory_table_base.0)?;
        if let Some(offset) = fields.user_directory_table_base {
            // 1 says that the process needs none.
            let root = process
                .user_directory_table_base
                .map_or(u64::from(self.options.shadow), |root| root.0);
            world.pointer(at + offset, root)?;
        }
        world.pointer(at + fields.unique_process_id, process.id)?;
        world.u64(at + fields.create_time, self.time + process.id)?;
        world.pointer(at + fields.token, token | 7)?;
        world.pointer(at + fields.object_table, handles)?;
        world.pointer(at + fields.section_base_address, image.unwrap_or(0))?;
        world.pointer(at + fields.parent, process.parent_id.unwrap_or(0))?;
        world.pointer(at + fields.peb, process.peb.0)?;
        world.write(at + fields.image_file_name, process.name.as_bytes())?;
        world.pointer(at + fields.audit_name, audit)?;
        world.u32(
            at + fields.active_threads,
            u32::try_from(truth.threads.len()).unwrap_or(0),
        )?;
        world.u32(at + fields.exit_status, 0x103)?; // STATUS_PENDING
        world.pointer(at + fields.vad_root, vads)?;
        if let (Some(offset), Some(peb)) = (fields.wow64_process, truth.wow64_peb) {
            let wow64 = world.allocate(0x20)?;
            world.pointer(wow64, peb.0)?;
            // Windows 7 keeps the PEB's address itself.
            let value = if self.profile.build < 9200 { peb.0 } else { wow64 };
            world.pointer(at + offset, value)?;
        }
        let thread = self.profile.thread;
        for (head, entry) in [
            (fields.thread_list_head_0, thread.thread_list_entry_0),
            (fields.thread_list_head, thread.thread_list_entry),
        ] {
            let nodes: Vec<u64> = truth.threads.iter().map(|thread| thread.ethread.0 + entry).collect();
            world.link(at + head, &nodes)?;
        }
        Ok(())
    }

    fn handle_table(&mut self, process: u64) -> Result<u64, BuildError> {
        let header = self.world.allocate(0x90)?;
        self.world.write(header, b"\0\0\x09\x02Obtb")?;
        self.world
            .u32(header + 0x10 + 0x28, u32::try_from(process).unwrap_or(0))?;
        Ok(header + 0x10)
    }

    /// An `OBJECT_NAME_INFORMATION`, its text right behind it.
    fn object_name(&mut self, text: &str) -> Result<u64, BuildError> {
        let bytes = utf16(text);
        let info = self.world.allocate(16 + bytes.len() as u64)?;
        let buffer = info + 2 * self.world.pointer_size();
        let record = crate::kernel_memory::counted(text, buffer, self.world.shape.is_32())?;
        self.world.write(info, &record)?;
        self.world.write(buffer, &bytes)?;
        Ok(info)
    }

    /// A root for user mode: it shows itself, and of the kernel has the pages that enter and leave it.
    fn shadow_root(&mut self, process: Option<u64>) -> Result<u64, BuildError> {
        let root = self.world.new_root(process)?;
        let entry = self.kernel.symbol("KiPageFaultShadow") & !0xFFF;
        let physical = self.world.physical(entry)?;
        let shape = self.world.shape;
        let at = self.world.entry_at(Space::Shadow, root, entry, 1)?;
        let leaf = shape.leaf(physical, 1, crate::world::CODE);
        self.world.ram.write(PhysAddr(at), &leaf.to_le_bytes())?;
        if process.is_none() {
            let provenance = dotdump_snapshot::paging::Provenance::Valid;
            self.world
                .note(Space::Shadow, entry, physical, 1, provenance, crate::world::CODE);
        }
        Ok(root)
    }
}
