//! What `minidump-stackwalk` makes of a dump, as a crash reporter would see it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::places;

/// Its report; `None` where the tool is not there; an error where it refuses the dump.
///
/// # Panics
/// Where it cannot be started, or is missing and may not be.
#[must_use]
pub fn walk(dump: &Path) -> Option<Result<Value, String>> {
    let tool = places::tools()?.join("cargo/bin/minidump-stackwalk");
    if !tool.is_file() {
        places::skip(&format!("{} is not there", tool.display()));
        return None;
    }
    let output = Command::new(tool)
        .args(["--json", "--verbose", "error"])
        .arg(dump)
        .stdin(Stdio::null())
        .output()
        .expect("minidump-stackwalk starts");
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Some(serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()))
}

/// What must be the same for a source and what was made of it: the crash, and the threads with their frames and
/// registers, on a system and processor of the same names.
#[must_use]
pub fn essence(report: &Value) -> Value {
    let mut crash = report["crash_info"].clone();
    if let Some(crash) = crash.as_object_mut() {
        // Decoded from memory around the instruction, with a guess whether an address lies near mapped memory: the
        // latter needs the map of the address space, which a small dump leaves out.
        for derived in ["crash_inconsistencies", "possible_bit_flips", "adjusted_address"] {
            crash.remove(derived);
        }
        strip(crash.get_mut("memory_accesses"), &["is_likely_guard_page"]);
    }
    let mut threads = report["threads"].clone();
    for thread in threads.as_array_mut().into_iter().flatten() {
        // The error value comes out of the TEB, which is only kept with `p`.
        strip(Some(thread), &["last_error_value"]);
        for frame in thread["frames"].as_array_mut().into_iter().flatten() {
            // Unloaded modules are left out unless they are asked for with `u`.
            strip(Some(frame), &["unloaded_modules"]);
        }
    }
    serde_json::json!({
        "crash": crash,
        "crashing_thread": report["crash_info"]["crashing_thread"],
        "cpu": report["system_info"]["cpu_arch"],
        "os": report["system_info"]["os"],
        "threads": threads,
    })
}

fn strip(value: Option<&mut Value>, names: &[&str]) {
    match value {
        Some(Value::Object(object)) => {
            for name in names {
                object.remove(*name);
            }
        }
        Some(Value::Array(items)) => items.iter_mut().for_each(|item| strip(Some(item), names)),
        _ => {}
    }
}

/// The first place at which two reports differ, with what it was and what it became; `None` where they are the same.
#[must_use]
pub fn difference(source: &Value, output: &Value) -> Option<String> {
    first_difference("", source, output)
}

fn first_difference(place: &str, left: &Value, right: &Value) -> Option<String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let get = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                first_difference(&format!("{place}.{name}"), &get(left), &get(right))
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(index, (left, right))| first_difference(&format!("{place}[{index}]"), left, right)),
        _ if left == right => None,
        _ => {
            let short = |value: &Value| value.to_string().chars().take(160).collect::<String>();
            Some(format!("{place}: {} became {}", short(left), short(right)))
        }
    }
}
