//! Opens a dump and lists its ranges and regions: how many there are, and their bytes.
//!
//! ```sh
//! cargo run --example list_ranges -- FILE.dmp
//! ```

use std::path::Path;

use dotdump_format::Findings;
use dotdump_format::minidump::memory_info_list::MemoryInfoList;
use dotdump_snapshot::{DumpFile, MinidumpSnapshot, ProcessSnapshot as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("the path of a dump expected")?;
    let file = DumpFile::open(Path::new(&path), true)?;
    let dump = MinidumpSnapshot::open(&file)?;
    let (mut ranges, mut bytes) = (0_u64, 0);
    for extent in dump.memory().all() {
        ranges += 1;
        bytes += extent?.range.size();
    }
    let (mut regions, mut address_space) = (0_u64, 0_u64);
    // The list as the file has it: `dump.regions()` would put it in order first.
    if let Some(list) = dump.dump().get::<MemoryInfoList<'_>>(&mut Findings::default())? {
        list.regions.for_each(|region| {
            regions += 1;
            address_space = address_space.wrapping_add(region.region_size.get());
        })?;
    }
    println!("{ranges} {bytes} {regions} {address_space}");
    Ok(())
}
