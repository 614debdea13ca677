//! Opens a dump and lists its ranges and regions: how many there are, and their bytes.
//!
//! ```sh
//! cargo run --example list_ranges -- FILE.dmp
//! ```

use std::path::Path;

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
    for region in dump.regions() {
        regions += 1;
        address_space = address_space.wrapping_add(region?.range.size());
    }
    println!("{ranges} {bytes} {regions} {address_space}");
    Ok(())
}
