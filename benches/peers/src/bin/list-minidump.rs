//! Opens a dump with the crate `minidump` and lists its ranges and regions.

use minidump::{Minidump, MinidumpMemoryInfoList};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("the path of a dump expected")?;
    let dump = Minidump::read_path(path)?;
    let memory = dump.get_memory().ok_or("no memory list")?;
    let (mut ranges, mut bytes) = (0_u64, 0);
    for range in memory.iter() {
        ranges += 1;
        bytes += range.size();
    }
    let list = dump.get_stream::<MinidumpMemoryInfoList>()?;
    let (mut regions, mut address_space) = (0_u64, 0_u64);
    for region in list.iter() {
        regions += 1;
        address_space = address_space.wrapping_add(region.raw.region_size);
    }
    println!("{ranges} {bytes} {regions} {address_space}");
    Ok(())
}
