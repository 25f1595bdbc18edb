//! `sirius verify`: does the certificate of a compilation hold?

use crate::cli::Outcome;
use crate::cli::args::VerifyArgs;
use crate::report::{forms, render};
use sirius_polyhedral::Error;
use sirius_polyhedral::certificate::check::{Verdict, check, contents};

/// How many violations are shown.
const SHOWN: usize = 10;

pub fn command(args: &VerifyArgs) -> Outcome {
    let (certificate, pool) = forms::load_certificate(&args.certificate)?;
    let mut verdict = check(&certificate, args.budget)?;
    let blobs: Vec<&[u8]> = (0..).map_while(|n| pool.get(n)).map(|data| data.bytes()).collect();
    contents(&certificate, &blobs, &mut verdict)?;
    if args.json {
        render::out(&format!("{}\n", json(&verdict)));
    } else {
        render::out(&text(&verdict));
    }
    match (verdict.findings.is_empty(), verdict.undecided.is_empty()) {
        (false, _) => Ok(render::MISMATCH),
        (true, false) => {
            let count = verdict.undecided.len();
            Err(Error::limit("E241", format!("{count} questions were not decided"))
                .help("a larger --budget may decide them, but not what regroups sums; nothing is known to be wrong"))
        }
        (true, true) => Ok(0),
    }
}

fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    for finding in verdict.findings.iter().take(SHOWN) {
        out.push_str(&format!("violation[{:?}] {finding}\n", finding.rule));
    }
    if verdict.findings.len() > SHOWN {
        out.push_str(&format!("... and {} more\n", verdict.findings.len() - SHOWN));
    }
    verdict.undecided.iter().for_each(|what| out.push_str(&format!("not decided: {what}\n")));
    let unproven = "a value was substituted under a computed subscript or test";
    verdict.unproven.iter().for_each(|what| out.push_str(&format!("not proven: {what}: {unproven}\n")));
    let judgement = match (verdict.findings.is_empty(), verdict.undecided.is_empty()) {
        (false, _) => "the certificate does not hold",
        (true, false) => "not everything was decided",
        (true, true) => "the certificate holds",
    };
    let Verdict {
        statements, dependences, folded, placed, substituted, assumed, regrouped, rearranged, compared, ..
    } = verdict;
    out.push_str(&format!(
        "{judgement}: {statements} statements, {dependences} dependences, {folded} folded arrays, {placed} places, \
         {substituted} values substituted, {regrouped} sums regrouped, {assumed} constants taken as they are, \
         {compared} of {rearranged} constants that are made of others compared\n"
    ));
    out
}

fn json(verdict: &Verdict) -> serde_json::Value {
    let finding = |f: &sirius_polyhedral::certificate::check::Finding| serde_json::json!({ "rule": format!("{:?}", f.rule).to_lowercase(), "text": f.text, "witness": f.witness });
    serde_json::json!({
        "holds": verdict.holds(),
        "violations": verdict.findings.iter().map(finding).collect::<Vec<_>>(),
        "undecided": verdict.undecided,
        "unproven": verdict.unproven,
        "statements": verdict.statements,
        "dependences": verdict.dependences,
        "folded": verdict.folded,
        "placed": verdict.placed,
        "substituted": verdict.substituted,
        "regrouped": verdict.regrouped,
        "assumed": verdict.assumed,
        "rearranged": verdict.rearranged,
        "compared": verdict.compared,
    })
}
