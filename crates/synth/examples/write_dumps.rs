//! Writes a machine's dumps and image into a folder, for tools that are not ours to judge.
//!
//!     cargo run -p dotdump-synth --example write_dumps -- FOLDER [x86|pae|x64|la57|arm64] [OPTION...]
//!
//! Options: `encoded`, `shadow`, `large`, `high` (memory above 4 GiB), `26100`.

use std::error::Error;
use std::path::Path;

use dotdump_format::kernel::DumpType;
use dotdump_snapshot::paging::PagingMode;
use dotdump_synth::{MachineBuilder, MemoryMap};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: write_dumps FOLDER [MODE] [OPTION...]")?;
    let mode = match arguments.next().as_deref() {
        Some("x86") => PagingMode::X86,
        Some("pae") => PagingMode::Pae,
        Some("la57") => PagingMode::FiveLevel,
        Some("arm64") => PagingMode::Arm64,
        Some("x64") | None => PagingMode::FourLevel,
        Some(other) => return Err(format!("there is no mode {other}").into()),
    };
    let mut builder = MachineBuilder::new(mode);
    for option in arguments {
        builder = match option.as_str() {
            "encoded" => builder.encode_debugger_data(true),
            "shadow" => builder.shadow_page_tables(true),
            "large" => builder.large_kernel(true),
            "high" => builder.memory(MemoryMap::pc(64 << 20).with_runs(1, 0x4000, 0x10_0000)),
            "26100" => builder.build_number(26100),
            other => return Err(format!("there is no option {other}").into()),
        };
    }
    let machine = builder.build()?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    machine.write_raw(&folder.join("raw.img"))?;
    machine.dump(DumpType::FULL).write(&folder.join("full.dmp"))?;
    let in_use = machine.pages_in_use();
    machine.dump(DumpType::BITMAP_FULL).write(&folder.join("bitmap.dmp"))?;
    machine
        .dump(DumpType::BITMAP_FULL)
        .pages(in_use.clone())
        .write(&folder.join("in-use.dmp"))?;
    machine
        .dump(DumpType::BITMAP_KERNEL)
        .pages(in_use.clone())
        .write(&folder.join("kernel.dmp"))?;
    machine
        .dump(DumpType::RANGE_FULL)
        .pages(in_use)
        .write(&folder.join("range.dmp"))?;
    for module in &machine.truth.modules {
        println!("{} {:#x} {:#x}", module.name_text(), module.base, module.size);
    }
    for truth in &machine.truth.processes {
        let process = &truth.process;
        println!(
            "{} {} {:#x} peb {:#x}",
            process.id, process.name, process.directory_table_base, process.peb
        );
        for thread in &truth.threads {
            let stack = thread.user_stack;
            println!("thread {} {} {:#x} {:#x}", process.id, thread.id, thread.teb, stack.end);
        }
        for module in &truth.modules {
            let (start, size) = (module.range.start, module.range.size());
            println!("module {} {start:#x} {size:#x} {}", process.id, module.path);
        }
    }
    println!(
        "KDBG {:#x}, root {:#x}",
        machine.truth.debugger_data.address, machine.truth.root
    );
    Ok(())
}
