//! Opens a dump with the crate `udmp-parser` and lists its ranges and regions, which are one list in it.

use udmp_parser::UserDumpParser;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("the path of a dump expected")?;
    let dump = UserDumpParser::new(path)?;
    let (mut ranges, mut bytes, mut regions, mut address_space) = (0_u64, 0_u64, 0_u64, 0_u64);
    for block in dump.mem_blocks().values() {
        regions += 1;
        address_space = address_space.wrapping_add(block.len());
        if !block.data.is_empty() {
            ranges += 1;
            bytes += block.data.len() as u64;
        }
    }
    println!("{ranges} {bytes} {regions} {address_space}");
    Ok(())
}
