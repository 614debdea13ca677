//! What is made from the command line's own description: completions and the manual page.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;

use crate::exit::Exit;

/// Prints completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell, mut command: Command) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    print(&text)
}

/// Prints the manual page.
pub(crate) fn man(command: Command) -> anyhow::Result<Exit> {
    print(&manual_page(command)?)
}

/// One page with a section for each subcommand, for that is what people look for.
fn manual_page(mut command: Command) -> io::Result<Vec<u8>> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let main = Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        let mut section = Vec::new();
        let man = Man::new(subcommand.clone());
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        let section = String::from_utf8_lossy(&section).replace("\n.SH ", "\n.SS ");
        let section = section
            .strip_prefix(".SH ")
            .map_or(section.clone(), |rest| format!(".SS {rest}"));
        writeln!(page, ".SH {}\n{section}", subcommand.get_name().to_uppercase())?;
    }
    main.render_version_section(&mut page)?;
    Ok(page)
}

/// Prints to standard output. Who reads it may have gone: that is an error, not a panic.
fn print(text: &[u8]) -> anyhow::Result<Exit> {
    let mut output = io::stdout().lock();
    output
        .write_all(text)
        .and_then(|()| output.flush())
        .context("cannot write to standard output")?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use dotdump_transcode::options::table::MINI_OPTIONS;

    use super::*;

    #[test]
    fn the_manual_page_has_every_subcommand_and_letter() {
        let page = manual_page(crate::arguments::command()).expect("memory takes all");
        let page = String::from_utf8(page).expect("text");
        for name in ["CONVERT", "CAPTURE", "INSPECT", "VERIFY", "COMPLETIONS", "MAN"] {
            assert!(page.contains(&format!("\n.SH {name}\n")), "{name}: {page}");
        }
        for option in MINI_OPTIONS {
            assert!(page.contains(&option.about[..20]), "{}: {page}", option.letter);
        }
    }
}
