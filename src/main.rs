//! The `sirius` command; see `cli`.

fn main() -> std::process::ExitCode {
    sirius::cli::main()
}
