//! Machines for tests.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use dotdump_format::kernel::triage::{SectionKind, Triage};
use dotdump_format::kernel::{DebuggerData, Header, Machine, SecondaryData, TriageDump};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::{Endian, Error, Findings, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::machine::{
    Bugcheck, DebuggerDataOrigin, FoundDebuggerData, KernelModule, Patch, PfnDatabase, Process, Processor,
    ProcessorContext, SharedUserData, UnloadedDriver,
};
use dotdump_snapshot::{AddressSpace, Extent, MachineSnapshot, Memory, PhysicalMemory, TriageMemory};

/// A machine whose parts are given.
pub(crate) struct Double<M> {
    pub(crate) header: Header,
    pub(crate) memory: M,
    pub(crate) processors: Vec<Processor>,
    pub(crate) modules: Vec<KernelModule>,
    pub(crate) unloaded: Vec<UnloadedDriver>,
    /// That in memory, unless it is given.
    pub(crate) debugger_data: OnceCell<Option<FoundDebuggerData>>,
}

/// A plain KDDEBUGGER_DATA64; `None` where the bytes are none.
pub(crate) fn found_debugger_data(bytes: &[u8], address: VirtAddr, machine: Machine) -> Option<FoundDebuggerData> {
    Some(FoundDebuggerData {
        data: DebuggerData::read(bytes, machine)?,
        address,
        origin: DebuggerDataOrigin::Header,
        encoded: false,
        flag: None,
    })
}

impl<M: Memory> MachineSnapshot for Double<M> {
    fn machine(&self) -> Machine {
        self.header.machine().unwrap()
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn physical_memory(&self) -> Option<&dyn PhysicalMemory> {
        None
    }

    fn kernel_memory(&self) -> &dyn Memory {
        &self.memory
    }

    fn kernel_space(&self) -> Option<&AddressSpace<'_>> {
        None
    }

    fn process_space(&self, _process: &Process) -> Option<AddressSpace<'_>> {
        None
    }

    fn bugcheck(&self) -> Option<Bugcheck> {
        Some(Bugcheck {
            code: self.header.bug_check_code()?,
            parameters: self.header.bug_check_parameters()?,
        })
    }

    fn processors(&self) -> &[Processor] {
        &self.processors
    }

    fn modules(&self) -> &[KernelModule] {
        &self.modules
    }

    fn unloaded_drivers(&self) -> &[UnloadedDriver] {
        &self.unloaded
    }

    fn processes(&self) -> &[Process] {
        &[]
    }

    fn stopped_processor(&self) -> Option<&Processor> {
        None
    }

    fn debugger_data(&self) -> Option<&FoundDebuggerData> {
        let found = self.debugger_data.get_or_init(|| {
            let address = self.header.kd_debugger_data_block()?;
            let mut bytes = vec![0; 0x3A0];
            let there = self.memory.read(address, &mut bytes).unwrap();
            found_debugger_data(&bytes[..there], address, self.machine())
        });
        found.as_ref()
    }

    fn shared_user_data(&self) -> Option<SharedUserData> {
        None
    }

    fn pfn_database(&self) -> Option<PfnDatabase<'_>> {
        None
    }

    fn triage(&self) -> Option<&Triage<'_>> {
        None
    }

    fn secondary_data(&self) -> Option<&SecondaryData> {
        None
    }

    fn guesses(&self) -> Vec<String> {
        Vec::new()
    }

    fn patches(&self) -> &[Patch] {
        &[]
    }

    fn findings(&self) -> Findings {
        Findings::default()
    }
}

/// A small dump that was made from a bigger one, as a machine.
pub(crate) fn of_triage<'a>(triage: &Triage<'a>, header: &Header) -> Double<TriageMemory<'a>> {
    let mut findings = Findings::default();
    let memory = TriageMemory::new(triage, header, &mut findings).unwrap();
    let machine = header.machine().unwrap();
    let debugger_data = triage.bytes(SectionKind::DebuggerData, 0x1000).unwrap();
    let fields = DebuggerData::read(&debugger_data, machine).unwrap();
    let pointer = |at: u64| {
        let mut bytes = [0; 8];
        let read = memory.read(VirtAddr(at), &mut bytes).unwrap();
        (read == 8).then(|| VirtAddr(u64::from_le_bytes(bytes)))
    };
    let table = fields.ki_processor_block().unwrap();
    let processors = (0..header.number_processors().unwrap()).filter_map(|number| {
        let prcb = pointer(table.0 + 8 * u64::from(number))?;
        let context = pointer(prcb.0 + fields.offset_prcb_context().unwrap()).and_then(|at| {
            let mut bytes = vec![0; machine.context_size()];
            let read = memory.read(at, &mut bytes).unwrap();
            let address = Some(at);
            (read == bytes.len()).then_some(ProcessorContext { address, bytes })
        });
        Some(Processor {
            number,
            prcb: Some(prcb),
            current_thread: pointer(prcb.0 + fields.offset_prcb_current_thread().unwrap()),
            context,
            special_registers: None,
        })
    });
    let processors = processors.collect();
    let drivers = triage.drivers(&mut findings).unwrap().into_iter();
    let known = |value: u32| (value != 0).then_some(value);
    let modules = drivers.map(|driver| KernelModule {
        entry: None,
        base: driver.entry.base(),
        size: driver.entry.size_of_image(),
        entry_point: driver.entry.entry_point(),
        checksum: known(driver.entry.check_sum()),
        time_date_stamp: known(driver.entry.time_date_stamp()),
        full_name: driver.name,
        base_name: None,
    });
    let unloaded = triage.unloaded_drivers(&mut findings).unwrap().into_iter();
    assert!(findings.is_empty());
    Double {
        header: header.clone(),
        modules: modules.collect(),
        unloaded: unloaded
            .map(|driver| UnloadedDriver {
                name: driver.name(),
                range: driver.range(),
                time: None,
            })
            .collect(),
        debugger_data: OnceCell::new(),
        processors,
        memory,
    }
}

/// Memory that is given, in pieces apart.
#[derive(Default)]
pub(crate) struct Given(pub(crate) BTreeMap<u64, Vec<u8>>);

impl Given {
    /// Puts memory there, zeros for a start.
    pub(crate) fn map(&mut self, at: u64, size: usize) {
        assert!(self.0.insert(at, vec![0; size]).is_none());
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let (start, piece) = self.0.range_mut(..=at).next_back().unwrap();
        let within = usize::try_from(at - start).unwrap();
        piece[within..within + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put_pointer(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

impl Memory for Given {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let extents = self.0.iter().filter_map(move |(start, bytes)| {
            let range = VirtRange::sized(VirtAddr(*start), bytes.len() as u64);
            Extent { range, offset: None }.clip(within)
        });
        Box::new(extents.map(Ok))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.0 + done as u64;
            let Some((start, bytes)) = self.0.range(..=at).next_back() else {
                break;
            };
            let Some(there) = bytes
                .get(usize::try_from(at - start).unwrap()..)
                .filter(|rest| !rest.is_empty())
            else {
                break;
            };
            let size = there.len().min(buffer.len() - done);
            buffer[done..done + size].copy_from_slice(&there[..size]);
            done += size;
        }
        Ok(done)
    }
}

/// The bytes of a dump, which takes memory from `memory` and copies from `file`.
pub(crate) fn render(dump: &TriageDump, memory: Option<&dyn Memory>, file: &[u8]) -> Vec<u8> {
    let mut layout = Layout::new(Endian::Little);
    let _header = dump.write(&mut layout).unwrap();
    let mut out = Vec::new();
    for piece in layout.finish().pieces {
        let start = out.len();
        out.resize(start + usize::try_from(piece.size()).unwrap(), 0);
        let room = &mut out[start..];
        match piece {
            Piece::Bytes(bytes) => room.copy_from_slice(&bytes),
            Piece::Zeros { .. } => {}
            Piece::Read { address, .. } => {
                assert_eq!(
                    memory.unwrap().read(address, room).unwrap(),
                    room.len(),
                    "{address} is planned, but absent"
                );
            }
            Piece::CopyFrom { offset, size } => {
                room.copy_from_slice(file.lend(offset, usize::try_from(size).unwrap()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    out
}

/// The addresses and sizes of all blocks, in order.
pub(crate) fn blocks_of(dump: &TriageDump) -> Vec<VirtRange> {
    let blocks = dump.blocks.iter();
    blocks
        .map(|block| VirtRange::sized(block.address, block.data.size()))
        .collect()
}

pub(crate) fn size_of(dump: &TriageDump) -> u64 {
    let mut layout = Layout::new(Endian::Little);
    let _header = dump.write(&mut layout).unwrap();
    layout.end().0
}
