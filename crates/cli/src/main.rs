//! The binary `lochnessctl`; everything lives in the library, so that tests run it in their own process too.

use std::process::ExitCode;

fn main() -> ExitCode {
    lochness_cli::main()
}
