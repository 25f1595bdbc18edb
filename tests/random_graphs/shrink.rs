//! From a failing model to a small one that fails in the same way.
//!
//! First the list of choices gets shorter and smaller: nodes (with the bodies they hold) are taken out, then numbers
//! are lowered. Then the model itself is cut: one result is kept, and tensors become inputs, the latest that will do.

use crate::job::{Outline, Request, Source, Verdict};

/// Models that are tried for one failure.
const BUDGET: usize = 400;

/// A failing model.
pub struct Failing {
    pub request: Request,
    pub verdict: Verdict,
}

/// Shrinks what `ask` found to be wrong.
pub fn shrink(failing: Failing, ask: &dyn Fn(&Request) -> Verdict) -> Failing {
    let (kind, outline) = (kind(&failing.verdict), failing.request.outline());
    let mut shrinker = Shrinker { best: failing, outline, kind, left: BUDGET, ask };
    shrinker.take_out_nodes();
    shrinker.lower();
    shrinker.keep_one();
    shrinker.cut();
    shrinker.best
}

struct Shrinker<'a> {
    best: Failing,
    outline: Outline,
    kind: Option<String>,
    left: usize,
    ask: &'a dyn Fn(&Request) -> Verdict,
}

/// Failures are the same where their texts begin the same, numbers left out; wrong results are all the same.
fn kind(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Wrong(why) if why.starts_with("output ") => Some("a wrong result".to_string()),
        Verdict::Wrong(why) => Some(why.chars().filter(|c| !c.is_ascii_digit()).take(40).collect()),
        _ => None,
    }
}

impl Shrinker<'_> {
    /// Takes `request` if it fails in the same way.
    fn try_this(&mut self, request: Request) -> bool {
        if self.left == 0 || request == self.best.request {
            return false;
        }
        self.left -= 1;
        let verdict = (self.ask)(&request);
        let fails = kind(&verdict) == self.kind;
        if fails {
            self.outline = request.outline();
            self.best = Failing { request, verdict };
        }
        fails
    }

    fn try_choices(&mut self, list: Vec<u32>) -> bool {
        let request = Request { source: Source::Choices(list), ..self.best.request.clone() };
        self.try_this(request)
    }

    /// Runs of nodes first, then single ones; the last first, as they have no users.
    fn take_out_nodes(&mut self) {
        for run in [8, 4, 2, 1] {
            let mut at = self.outline.spans.len();
            while at > 0 {
                at = (at - 1).min(self.outline.spans.len().saturating_sub(1));
                let spans =
                    &self.outline.spans[at.saturating_sub(run - 1).min(at)..=at.min(self.outline.spans.len() - 1)];
                let start = spans.iter().map(|(start, _)| *start).min().unwrap_or(0);
                let end = spans.iter().map(|(_, end)| *end).max().unwrap_or(0);
                let mut list = self.outline.choices.clone();
                list.drain(start..end);
                self.try_choices(list);
                if self.outline.spans.is_empty() {
                    return;
                }
            }
        }
    }

    /// Every number to 0, to half, or to one less; a part of the budget stays for what follows.
    fn lower(&mut self) {
        let mut at = 0;
        while at < self.outline.choices.len() && self.left > BUDGET / 4 {
            let value = self.outline.choices[at];
            for smaller in [0, value / 2, value.saturating_sub(1)] {
                let mut list = self.outline.choices.clone();
                list[at] = smaller;
                if smaller < value && self.try_choices(list) {
                    break;
                }
            }
            at += 1;
        }
    }

    fn keep_one(&mut self) {
        for name in self.outline.tensors.clone().into_iter() {
            if self.try_this(Request { keep: vec![name], ..self.best.request.clone() }) {
                break;
            }
        }
    }

    /// The latest first: what is cut there takes most with it.
    fn cut(&mut self) {
        for name in self.outline.tensors.clone().into_iter().rev() {
            let mut request = self.best.request.clone();
            if !request.keep.contains(&name) {
                request.cut.push(name);
                self.try_this(request);
            }
        }
    }
}
