//! What the user says about the shape of an input: `--shape NAME=3,n,?`.

use super::inputs::DeclaredDim;
use std::str::FromStr;

/// One entry for each dimension: a number, a name, or `?` for what the file declares (any extent where it is silent).
#[derive(Clone, Debug, PartialEq)]
pub struct Shape(pub Vec<DeclaredDim>);

impl FromStr for Shape {
    type Err = String;

    /// `3,n,?`; nothing at all is a scalar.
    fn from_str(text: &str) -> Result<Shape, String> {
        let words = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let dim = |word: &str| match word.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(DeclaredDim::Fixed(n)),
            Err(_) if word == "?" => Ok(DeclaredDim::Unknown),
            Err(_) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => Ok(DeclaredDim::Named(word.into())),
            _ => Err(format!("\"{word}\" in \"{text}\" is no dimension: wanted a number, a name or ?")),
        };
        words.map(dim).collect::<Result<_, _>>().map(Shape)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Shape {
        Shape(extents.iter().map(|n| DeclaredDim::Fixed(*n as i64)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_open_dimensions_are_read() {
        let wanted = vec![DeclaredDim::Fixed(3), DeclaredDim::Named("n".into()), DeclaredDim::Unknown];
        assert_eq!("3, n,?".parse(), Ok(Shape(wanted)));
        assert_eq!("".parse(), Ok(Shape(vec![])));
        for (text, part) in [("-1", "\"-1\""), ("3,,4", "\"\""), ("3,*", "\"*\"")] {
            assert!(text.parse::<Shape>().unwrap_err().contains(part), "{text}");
        }
    }
}
