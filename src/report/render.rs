//! Errors and remarks as text for a terminal, and the exit code that goes with each kind.

use sirius_polyhedral::{Error, Remark, RemarkKind};
use std::io::{IsTerminal, Write};

/// Exit codes of the command line.
pub const MISMATCH: u8 = 4;
pub const INTERNAL: u8 = 70;

/// 1 invalid model, 3 unsupported, 5 budget, 6 environment, 70 our own mistake. (2 is wrong usage, by clap.)
pub fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Invalid(_) => 1,
        Error::Unsupported(_) => 3,
        Error::Limit(_) => 5,
        Error::Environment(_) => 6,
        Error::Bug(_) => INTERNAL,
    }
}

/// Prints to standard output; a reader that has gone away is no error.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// `error[E112]: ...` on standard error, the kind in colour on a terminal.
pub fn print_error(error: &Error) {
    let kind = match error {
        Error::Bug(_) => "internal error",
        _ => "error",
    };
    eprintln!("{}{error}", paint(kind, "1;31", std::io::stderr().is_terminal()));
}

/// `remark[fuse] applied  Softmax "/attn/Softmax": reason`.
pub fn remark(remark: &Remark, colour: bool) -> String {
    let (word, code) = match remark.kind {
        RemarkKind::Applied => ("applied", "32"),
        RemarkKind::Missed => ("missed ", "33"),
    };
    format!("remark[{}] {} {}: {}", remark.pass, paint(word, code, colour), remark.subject, remark.reason)
}

/// Should text on standard output carry colour?
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// Columns aligned by their widest cell; the first is flush left, the others flush right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cell = |(c, s): (usize, &String)| match c {
            0 => format!("{s:<w$}", w = widths[c]),
            _ => format!("  {s:>w$}", w = widths[c]),
        };
        text.push_str(row.iter().enumerate().map(cell).collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sirius_polyhedral::Origin;

    #[test]
    fn remarks_read_as_one_line() {
        let subject = Origin { node: "/attn/Softmax".into(), op: "Softmax".into() };
        let r = Remark { kind: RemarkKind::Missed, pass: "fuse", subject, reason: "crosses workers".into() };
        assert_eq!(remark(&r, false), "remark[fuse] missed  Softmax \"/attn/Softmax\": crosses workers");
        assert!(remark(&r, true).contains("\x1b[33mmissed \x1b[0m"));
    }

    #[test]
    fn columns_line_up() {
        let rows = [["pass", "ms"], ["forward", "12.5"]].map(|r| r.map(String::from).to_vec());
        assert_eq!(table(&rows), "pass       ms\nforward  12.5\n");
    }
}
