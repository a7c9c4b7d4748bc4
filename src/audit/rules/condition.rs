//! Conditions of rules: `selection and not 1 of filter_*`.
//!
//! Promises: `not` binds closer than `and`, and that closer than `or`, as Sigma has it; a name that no selection has is an error.
#![forbid(unsafe_code)]

/// No condition is nested deeper.
const MAX_DEPTH: usize = 32;

/// What must hold. Selections are numbered as the rule has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A selection.
    Is(usize),
    /// Not this.
    Not(Box<Condition>),
    /// All of these.
    All(Vec<Condition>),
    /// One of these at least.
    Any(Vec<Condition>),
}

impl Condition {
    /// Whether it holds, where `is` tells whether a selection does.
    pub fn holds(&self, is: &mut impl FnMut(usize) -> bool) -> bool {
        match self {
            Self::Is(selection) => is(*selection),
            Self::Not(condition) => !condition.holds(is),
            Self::All(all) => all.iter().all(|condition| condition.holds(is)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(is)),
        }
    }

    /// Reads a condition over selections of these names; an error is a sentence.
    pub fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut reader = Reader { words: &words, names, depth: 0 };
        let condition = reader.any()?;
        match reader.words.first() {
            None => Ok(condition),
            Some(word) => Err(format!("{word:?} does not belong there in the condition")),
        }
    }
}

struct Reader<'t> {
    words: &'t [&'t str],
    names: &'t [&'t str],
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.first().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }

    fn any(&mut self) -> Result<Condition, String> {
        self.list("or", Self::all, Condition::Any)
    }

    fn all(&mut self) -> Result<Condition, String> {
        self.list("and", Self::one, Condition::All)
    }

    fn list(
        &mut self,
        word: &str,
        inner: fn(&mut Self) -> Result<Condition, String>,
        of: fn(Vec<Condition>) -> Condition,
    ) -> Result<Condition, String> {
        let first = inner(self)?;
        let mut conditions = vec![first];
        while self.take(word) {
            conditions.push(inner(self)?);
        }
        Ok(if conditions.len() == 1 { conditions.remove(0) } else { of(conditions) })
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the condition is nested too deep".to_owned());
        }
        let condition = if self.take("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.take("(") {
            let inner = self.any()?;
            if !self.take(")") {
                return Err("a parenthesis of the condition is not closed".to_owned());
            }
            inner
        } else {
            let word = *self.words.first().ok_or("the condition ends too early")?;
            match self.words {
                ["1" | "any", of, ..] if of.eq_ignore_ascii_case("of") => Condition::Any(self.several()?),
                ["all", of, ..] if of.eq_ignore_ascii_case("of") => Condition::All(self.several()?),
                _ => {
                    self.words = &self.words[1..];
                    let number = self.names.iter().position(|name| *name == word);
                    Condition::Is(number.ok_or_else(|| format!("the condition names {word:?}, which no selection is called"))?)
                }
            }
        };
        self.depth -= 1;
        Ok(condition)
    }

    /// The selections of `1 of filter_*` and `all of them`.
    fn several(&mut self) -> Result<Vec<Condition>, String> {
        let pattern = *self.words.get(2).ok_or("the condition ends too early")?;
        self.words = &self.words[3..];
        let is_meant = |name: &str| match pattern.strip_suffix('*') {
            _ if pattern == "them" => !name.starts_with('_'),
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let meant: Vec<_> = (0..self.names.len()).filter(|at| is_meant(self.names[*at])).map(Condition::Is).collect();
        if meant.is_empty() { Err(format!("no selection is called {pattern:?}")) } else { Ok(meant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_bind_as_in_sigma() {
        let names = ["a", "b", "filter_x", "filter_y"];
        for (text, truth, expected) in [
            ("a", [true, false, false, false], true),
            ("a and not b", [true, true, false, false], false),
            ("not a and b or filter_x", [true, true, true, false], true),
            ("not (a and b)", [true, false, false, false], true),
            ("a and not 1 of filter_*", [true, false, false, true], false),
            ("a and not all of filter_*", [true, false, false, true], true),
            ("1 of them", [false, false, false, true], true),
            ("all of them", [true, true, true, false], false),
            ("a AND NOT (b OR filter_x)", [true, false, false, true], true),
        ] {
            let condition = Condition::parse(text, &names).unwrap();
            assert_eq!(condition.holds(&mut |at| truth[at]), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "a and", "(a", "a b", "c", "1 of c*", "a | count() > 5", "1 of", "a)"] {
            assert!(Condition::parse(text, &["a", "b"]).is_err(), "{text}");
        }
        assert!(Condition::parse(&"(".repeat(100_000), &["a"]).is_err());
        assert!(Condition::parse(&"not ".repeat(100_000), &["a"]).is_err());
    }
}
