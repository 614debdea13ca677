//! Opens a kernel dump with the crate `kdmp-parser` and tells how many pages it has, and the first eight bytes of some of
//! them.

use kdmp_parser::gxa::Gpa;
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::phys;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("the path of a dump and addresses expected")?;
    let dump = KernelDumpParser::new(path)?;
    print!("{}", dump.physmem().len());
    let memory = phys::Reader::new(&dump);
    for address in arguments {
        let mut word = [0; 8];
        memory.read_exact(Gpa::from(u64::from_str_radix(&address, 16)?), &mut word)?;
        print!(" {:x}", u64::from_le_bytes(word));
    }
    println!();
    Ok(())
}
