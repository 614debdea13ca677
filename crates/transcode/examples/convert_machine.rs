//! Makes a dump of a machine out of any image of one: `convert_machine SOURCE OUTPUT [-f|-k|-ka|-m] [bitmap|range|runs]`.
//! The report goes to standard output.

use std::error::Error;
use std::path::Path;

use dotdump_format::ReadAt;
use dotdump_snapshot::DumpFile;
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_transcode::Request;
use dotdump_transcode::machine::prepare;
use dotdump_transcode::options::{DumpKind, DumpOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::sink::{Cancel, Control, Destination};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, output, options @ ..] = arguments.as_slice() else {
        return Err("a source and an output are needed".into());
    };
    let mut request = Request {
        options: DumpOptions {
            kind: DumpKind::Full { avx_state: false },
            ..DumpOptions::default()
        },
        ..Request::default()
    };
    for option in options {
        match option.as_str() {
            "-f" => request.options.kind = DumpKind::Full { avx_state: false },
            "-m" => request.options.kind = DumpKind::Mini,
            "-k" => request.options.kind = DumpKind::Kernel,
            "-ka" => request.options.kind = DumpKind::KernelActive,
            "bitmap" => request.layout = Some(PageLayout::Bitmap),
            "range" => request.layout = Some(PageLayout::Range),
            "runs" => request.layout = Some(PageLayout::Runs),
            other => return Err(format!("unknown: {other}").into()),
        }
    }
    let file = DumpFile::open(Path::new(source), true)?;
    let source = MachineFile::open(&file as &dyn ReadAt, &MachineOptions::default())?;
    let machine = MachineImage::open(&source)?;
    let conversion = prepare(&machine, Some(&file), &request)?;
    let cancel = Cancel::new();
    let destination = Destination::file(Path::new(output), true, None)?;
    let mut sink = destination.open(Some(conversion.size()), Control::new(&cancel, &()))?;
    conversion.write(&mut *sink)?;
    sink.finish()?;
    println!("{}", serde_json::to_string_pretty(&conversion.report)?);
    Ok(())
}
