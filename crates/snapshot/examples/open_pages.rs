//! Opens a kernel dump and tells how many pages it has, and the first eight bytes of some of them.
//!
//! ```sh
//! cargo run --example open_pages -- MEMORY.DMP 1ab000
//! ```

use std::path::Path;

use dotdump_format::PhysAddr;
use dotdump_format::kernel::KernelDump;
use dotdump_snapshot::{DumpFile, KernelDumpMemory, PhysicalMemory as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of a dump and addresses expected")?;
    let file = DumpFile::open(Path::new(&path), true)?;
    let dump = KernelDump::open(&file)?;
    let memory = KernelDumpMemory::open(&file, &dump)?.ok_or("the dump has no pages")?;
    print!("{}", memory.pages_present());
    for address in arguments {
        let mut word = [0; 8];
        let size = memory.read(PhysAddr(u64::from_str_radix(&address, 16)?), &mut word)?;
        if size < word.len() {
            return Err(format!("{address} is not in the dump").into());
        }
        print!(" {:x}", u64::from_le_bytes(word));
    }
    println!();
    Ok(())
}
