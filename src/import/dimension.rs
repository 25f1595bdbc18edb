//! What the user says about a named dimension: `NAME=VALUE`, or `NAME=LO..HI:TYPICAL`.

use super::infer::Range;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The only extent, at least 1.
    Fixed(i64),
    /// The dimension stays symbolic, from `low` (at least 0) to `high`, and the code is tuned for `typical`.
    Range { low: i64, high: Option<i64>, typical: Option<i64> },
}

impl Dimension {
    pub fn fixed(&self) -> Option<i64> {
        match self {
            Dimension::Fixed(n) => Some(*n),
            Dimension::Range { .. } => None,
        }
    }

    pub fn range(&self) -> Range {
        match self {
            Dimension::Fixed(n) => (Some(*n), Some(*n)),
            Dimension::Range { low, high, .. } => (Some(*low), *high),
        }
    }

    /// The extent to tune for, and to make inputs up with.
    pub fn typical(&self) -> Option<i64> {
        match self {
            Dimension::Fixed(n) => Some(*n),
            Dimension::Range { typical, .. } => *typical,
        }
    }

    pub fn admits(&self, extent: i64) -> bool {
        let (low, high) = self.range();
        low.is_none_or(|low| low <= extent) && high.is_none_or(|high| extent <= high)
    }
}

impl From<i64> for Dimension {
    fn from(extent: i64) -> Dimension {
        Dimension::Fixed(extent)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dimension::Fixed(n) => write!(f, "{n}"),
            Dimension::Range { low, high, .. } => {
                write!(f, "{low}..{}", high.map_or(String::new(), |high| high.to_string()))
            }
        }
    }
}

impl FromStr for Dimension {
    type Err = String;

    /// `8`, `1..512`, `0..`, `1..512:128`.
    fn from_str(text: &str) -> Result<Dimension, String> {
        let Some((low, rest)) = text.split_once("..") else {
            return match text.parse() {
                Ok(n) if n >= 1 => Ok(Dimension::Fixed(n)),
                _ => Err(format!("\"{text}\" is neither a positive integer nor a range like 1..512:128")),
            };
        };
        let (high, typical) = rest.split_once(':').map_or((rest, None), |(high, typical)| (high, Some(typical)));
        let number = |word: &str| -> Result<i64, String> {
            let found = word.parse().ok().filter(|n: &i64| *n >= 0);
            found.ok_or_else(|| format!("\"{word}\" in \"{text}\" is no extent: wanted 0 or a positive integer"))
        };
        let low = number(low)?;
        let high = if high.is_empty() { None } else { Some(number(high)?) };
        let range = Dimension::Range { low, high, typical: None };
        if high.is_some_and(|high| high < low) {
            return Err(format!("\"{text}\" holds no extent: {range} ends before it begins"));
        }
        let typical = typical.map(number).transpose()?;
        if let Some(outside) = typical.filter(|n| !range.admits(*n)) {
            return Err(format!("the typical extent {outside} is outside {range}"));
        }
        Ok(Dimension::Range { low, high, typical })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_and_ranges_are_read() {
        let range = |low, high, typical| Ok(Dimension::Range { low, high, typical });
        assert_eq!("8".parse(), Ok(Dimension::Fixed(8)));
        assert_eq!("1..512".parse(), range(1, Some(512), None));
        assert_eq!("1..512:128".parse(), range(1, Some(512), Some(128)));
        assert_eq!("0..".parse(), range(0, None, None));
        assert_eq!("2..:9".parse(), range(2, None, Some(9)));
    }

    #[test]
    fn what_holds_no_extent_is_refused() {
        for (text, part) in [
            ("0", "positive integer"),
            ("-1..4", "\"-1\""),
            ("5..4", "ends before it begins"),
            ("1..8:9", "outside 1..8"),
            ("a..b", "\"a\""),
            ("1..4:", "\"\""),
        ] {
            let error = text.parse::<Dimension>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
