//! The test's own process: its modules are those that the kernel and readelf know.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use dotdump_format::minidump::linux_mapping::LinuxMapping;
use dotdump_format::{Error, Findings, VirtAddr, VirtRange};
use dotdump_snapshot::linux::{LinuxArchitecture, LinuxModules};
use dotdump_snapshot::{Blob, Extent, Memory};

/// The memory of this process.
struct OwnMemory {
    file: File,
    ranges: Vec<VirtRange>,
}

impl OwnMemory {
    fn new(mappings: &[LinuxMapping]) -> Self {
        let readable = mappings.iter().filter(|mapping| mapping.permissions.read);
        Self {
            file: File::open("/proc/self/mem").unwrap(),
            ranges: readable.map(|mapping| mapping.range).collect(),
        }
    }
}

impl Memory for OwnMemory {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let parts = self.ranges.iter().filter_map(move |range| range.intersection(within));
        Box::new(parts.map(|range| Ok(Extent { range, offset: None })))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(self.file.read_at(buffer, address.0).unwrap_or(0))
    }
}

const ARCHITECTURE: LinuxArchitecture = if cfg!(target_arch = "aarch64") {
    LinuxArchitecture::Arm64
} else {
    LinuxArchitecture::Amd64
};

/// The build id that readelf tells of a file.
fn build_id(path: &str) -> Option<Vec<u8>> {
    let output = Command::new("readelf").args(["-n", path]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, id) = text.split_once("Build ID: ")?;
    let digits = id.lines().next()?.trim();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

#[test]
fn modules_are_those_that_the_kernel_and_readelf_know() {
    let text = std::fs::read("/proc/self/maps").unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mappings: Vec<LinuxMapping> = lines.map(|line| LinuxMapping::parse(line).unwrap()).collect();
    let auxv = std::fs::read("/proc/self/auxv").unwrap();
    let mut findings = Findings::default();
    let memory = OwnMemory::new(&mappings);
    let known = LinuxModules::default();
    let found = LinuxModules::find(ARCHITECTURE, &mappings, &auxv, &memory, &known, &mut findings).unwrap();

    let program = std::env::current_exe().unwrap();
    assert_eq!(found.modules[0].name_text(), program.to_str().unwrap());
    assert!(found.modules.iter().any(|module| module.name_text() == "linux-gate.so"));
    let files = |mapping: &&LinuxMapping| mapping.permissions.execute && mapping.inode != 0;
    for mapping in mappings.iter().filter(files) {
        let path = std::str::from_utf8(mapping.file().unwrap()).unwrap();
        let of_file = |other: &&LinuxMapping| other.path == mapping.path;
        let first = mappings.iter().find(of_file).unwrap().range.start;
        let last = mappings.iter().rfind(of_file).unwrap().range.end;
        let module = found.modules.iter().find(|module| module.name_text() == path);
        let module = module.unwrap_or_else(|| panic!("{path} is no module"));
        assert_eq!(module.range().start, first, "{path}");
        assert!(module.range().end >= last, "{path}");
        if let Some(id) = build_id(path) {
            let record = [&b"LEpB"[..], &id].concat();
            assert_eq!(module.cv_record, Some(Blob::Bytes(record)), "{path}");
        }
    }
    // What the linker lists are modules, and the other way round.
    let debug = found.dso_debug().unwrap();
    for object in &debug.objects {
        let holds = |module: &&dotdump_snapshot::ModuleSnapshot| module.range().contains(VirtAddr(object.ld));
        assert!(found.modules.iter().any(|module| holds(&module)), "{object:?}");
    }
    assert_eq!(debug.objects.len(), found.modules.len());
}
