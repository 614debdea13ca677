//! Captures a process with the crate `minidump-writer`.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use minidump_writer::minidump_writer::MinidumpWriterConfig;

    let mut arguments = std::env::args_os().skip(1);
    let (Some(id), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("the id of a process and the path of a dump expected".into());
    };
    let id = id.to_string_lossy().parse()?;
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    MinidumpWriterConfig::new(id, id).write(&mut file)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("it is for Linux");
}
