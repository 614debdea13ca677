//! What it is told to do.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{files, memory, modules, threads};

/// Its arguments.
pub(crate) struct Options {
    /// The number of threads, the main one included.
    pub(crate) threads: usize,
    /// How many of them compute all the time, with known registers.
    pub(crate) spinning: usize,
    /// Bytes of memory with a known pattern.
    pub(crate) heap: usize,
    /// Where its files go.
    pub(crate) folder: PathBuf,
    /// A library to load and then to delete.
    library: Option<PathBuf>,
    /// Whether a thread looks all the time for how long it was not running.
    pub(crate) clock: bool,
    /// Whether all of the memory is used.
    pub(crate) solid: bool,
}

fn options() -> Options {
    let mut options = Options {
        threads: 8,
        spinning: 1,
        heap: 16 << 20,
        folder: std::env::temp_dir(),
        library: None,
        clock: false,
        solid: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match &*name {
            "--clock" => {
                options.clock = true;
                continue;
            }
            "--solid" => {
                options.solid = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().expect("a value");
        let number = || value.parse().expect("a number");
        match &*name {
            "--threads" => options.threads = number(),
            "--spinning" => options.spinning = number(),
            "--heap" => options.heap = number(),
            "--folder" => options.folder = value.into(),
            "--library" => options.library = Some(value.into()),
            _ => panic!("{name}?"),
        }
    }
    options
}

/// An address, as the truth has it.
pub(crate) fn hex(value: u64) -> Value {
    json!(format!("{value:#x}"))
}

/// Does all of it.
pub(crate) fn main() {
    let options = options();
    let library = options.library.as_ref().map(|path| modules::load_and_delete(path));
    let memory = memory::make(&options);
    let files = files::open(&options);
    let threads = threads::start(&options);
    let truth = json!({
        "pid": std::process::id(),
        "library": library,
        "memory": memory,
        "files": files,
        "modules": modules::list(),
        "threads": threads.truth,
        "counters": threads.counters_path,
    });
    println!("{truth}");
    std::io::stdout().flush().expect("standard output");
    for line in std::io::stdin().lock().lines() {
        match &*line.expect("standard input") {
            // One of its threads writes where nothing is.
            "crash" => threads::crash(),
            // When it does, it tells of that itself.
            "handle" => threads::handle(),
            // The main thread ends, the others go on.
            "leave" => threads::leave(),
            word => panic!("{word}?"),
        }
    }
    std::process::exit(0);
}
