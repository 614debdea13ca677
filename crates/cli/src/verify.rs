//! The subcommand `verify`.

use crate::arguments::VerifyArguments;
use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(_arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    anyhow::bail!("not linked yet")
}
