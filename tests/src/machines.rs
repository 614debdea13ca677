//! Images of machines with known contents, and the readers that say what is in them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::places::{beside, skip, workspace};

/// The folder with the machines.
#[must_use]
pub fn machines() -> Option<PathBuf> {
    beside("DOTDUMP_MACHINES", "machines")
}

/// A file of the images that is not packed.
#[must_use]
pub fn image_file(name: &str) -> Option<PathBuf> {
    Some(machines()?.join("images").join(name))
}

/// A text of the machines' folder.
///
/// # Panics
/// Where the folder is there and does not have it.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    Some(fs::read_to_string(machines()?.join(name)).expect("a text"))
}

/// An image, unpacked: once for all tests of all runs.
///
/// # Panics
/// Where it cannot be unpacked.
#[must_use]
pub fn image(name: &str) -> Option<PathBuf> {
    /// Tests of one program unpack one after the other.
    static UNPACKING: Mutex<()> = Mutex::new(());

    let packed = image_file(&format!("{name}.zst"))?;
    if Command::new("zstd").arg("--version").output().is_err() {
        skip("zstd is not installed");
        return None;
    }
    let folder = workspace().join("target/machines");
    let unpacked = folder.join(name);
    let _one = UNPACKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !unpacked.is_file() {
        fs::create_dir_all(&folder).expect("a folder");
        // Other programs' tests may do the same at the same time: each has its own file until it is whole.
        let own = tempfile::Builder::new()
            .prefix(name)
            .tempfile_in(&folder)
            .expect("a file");
        let status = Command::new("zstd")
            .args(["-q", "-d", "-f", "--sparse", "-o"])
            .args([own.path(), &packed])
            .status()
            .expect("zstd runs");
        assert!(status.success(), "{} is not unpacked", packed.display());
        own.persist(&unpacked).expect("a place for it");
    }
    Some(unpacked)
}

/// The ground truth of a machine: `name` is that of its file without `-meta.json`.
///
/// # Panics
/// Where it is there and no JSON.
#[must_use]
pub fn truth(name: &str) -> Option<Value> {
    let text = fs::read_to_string(image_file(&format!("{name}-meta.json"))?).expect("the ground truth");
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// What kdmp-parser, Volatility and MemProcFS find in a dump of the machine `machine`; `None` where they are not
/// installed.
///
/// # Panics
/// Where the script that asks them fails.
#[must_use]
pub fn ask_readers(dump: &Path, machine: &str) -> Option<Value> {
    let root = env::var_os("MACHINES_ROOT").map_or_else(
        || env::home_dir().unwrap_or_default().join(".cache/dotdump-machines"),
        PathBuf::from,
    );
    let python = root.join("venv/bin/python");
    if !python.is_file() {
        skip(&format!(
            "the readers of machines are not installed in {}",
            root.display()
        ));
        return None;
    }
    let output = Command::new(python)
        .arg(machines()?.join("nt/ask.py"))
        .arg(dump)
        .arg("--meta")
        .arg(image_file(&format!("{machine}-meta.json"))?)
        .stdin(Stdio::null())
        .output()
        .expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_str(&text).expect("JSON"))
}
