//! The process that is meant.

use anyhow::bail;
use dotdump_capture::{ProcessEntry, processes};

use crate::process_name::{is_called, is_sensitive, listed, parse_id, refused_as_sensitive};

/// The process with this id. A sensitive one is only given where that is `allowed`.
pub(super) fn by_id(id: u32, allowed: bool) -> anyhow::Result<u32> {
    // Where there is none, or they cannot be listed, opening it tells more.
    let entry = processes().unwrap_or_default().into_iter().find(|entry| entry.id == id);
    if let Some(entry) = entry {
        check_sensitive("--pid", &entry, allowed)?;
    }
    Ok(id)
}

/// The one process whose program has this name.
pub(super) fn by_name(name: &str, allowed: bool) -> anyhow::Result<u32> {
    let all = processes()?;
    let entry = only(&all, name)?;
    check_sensitive("--name", entry, allowed)?;
    Ok(entry.id)
}

fn only<'e>(processes: &'e [ProcessEntry], name: &str) -> anyhow::Result<&'e ProcessEntry> {
    let mut found = others(processes).filter(|entry| is_called(&entry.name, name, None));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(found);
            let all = listed(all.map(|entry| (u64::from(entry.id), entry.name.as_str())));
            bail!("--name {name}: several processes have this name: {all}; name one by its id (--pid)");
        }
        (None, _) if parse_id(name).is_some() => {
            bail!("--name {name}: no process has this name; to name one by its id use --pid")
        }
        (None, _) => bail!("--name {name}: no process has this name (the whole name counts, there are no patterns)"),
    }
}

/// All but this program itself, which cannot stop and look at what it stopped.
pub(super) fn others(processes: &[ProcessEntry]) -> impl Iterator<Item = &ProcessEntry> {
    let own = std::process::id();
    processes.iter().filter(move |entry| entry.id != own)
}

fn check_sensitive(option: &str, entry: &ProcessEntry, allowed: bool) -> anyhow::Result<()> {
    if is_sensitive(&entry.name) && !allowed {
        return Err(refused_as_sensitive(option, &entry.name, entry.id.into()).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, name: &str) -> ProcessEntry {
        let name = name.to_owned();
        ProcessEntry { id, name }
    }

    #[test]
    fn a_name_means_one_process() {
        let own = std::process::id();
        let all = [
            entry(own, "sleep"),
            entry(own + 1, "sleep"),
            entry(own + 2, "app.exe"),
            entry(own + 3, "twice"),
            entry(own + 4, "twice"),
        ];
        assert_eq!(only(&all, "sleep").expect("one").id, own + 1);
        assert_eq!(only(&all, "APP").expect("one").id, own + 2);
        let message = |name| only(&all, name).expect_err("not one").to_string();
        let (first, second) = (own + 3, own + 4);
        assert!(
            message("twice").contains(&format!("{first} twice, {second} twice")),
            "{}",
            message("twice")
        );
        assert!(message("sle").contains("no process has this name"));
    }

    #[test]
    fn sensitive_processes_are_only_given_where_that_is_meant() {
        let entry = entry(600, "LSASS.EXE");
        assert!(check_sensitive("--pid", &entry, true).is_ok());
        let error = check_sensitive("--pid", &entry, false).expect_err("refused");
        assert!(error.to_string().contains("--allow-sensitive-process"), "{error}");
    }
}
