//! YAML as far as rules need it: maps, lists and scalars, each with its line.
//!
//! Promises: a key that comes twice, an alias, a tag, or nesting that has no end is an error and never a surprise; memory is in
//! proportion to the text.
#![forbid(unsafe_code)]

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

/// No rule is nested deeper.
const MAX_DEPTH: usize = 32;

/// What is wrong, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Wrong {
    /// Something wrong in a line.
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// A value, and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    /// The line, counted from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Words or a number; `None` for null.
    Scalar(Option<String>),
    /// Several.
    List(Vec<Node>),
    /// Pairs, in their order.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The words of a scalar.
    pub fn text(&self) -> Result<&str, Wrong> {
        match &self.value {
            Value::Scalar(Some(text)) => Ok(text),
            Value::Scalar(None) => Err(Wrong::new(self.line, "a value is missing")),
            _ => Err(Wrong::new(self.line, "a single value belongs here, no list and no map")),
        }
    }

    /// The pairs of a map.
    pub fn map(&self) -> Result<&[(Node, Node)], Wrong> {
        match &self.value {
            Value::Map(pairs) => Ok(pairs),
            _ => Err(Wrong::new(self.line, "a map (name: value) belongs here")),
        }
    }

    /// The items of a list; a single value is a list of one.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }
}

type Events<'a> = Parser<'a, StrInput<'a>>;

/// The documents of a file.
pub fn parse(text: &str) -> Result<Vec<Node>, Wrong> {
    let mut events = Parser::new_from_str(text);
    let mut documents = Vec::new();
    loop {
        match next(&mut events)? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (event, line) => documents.push(node(event, line, &mut events, 0)?),
        }
    }
}

fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, usize), Wrong> {
    match events.next_event() {
        None => Ok((Event::StreamEnd, 0)),
        Some(Ok((event, span))) => Ok((event, span.start.line())),
        Some(Err(error)) => Err(Wrong::new(error.marker().line(), format!("this is no YAML: {}", error.info()))),
    }
}

fn node(event: Event<'_>, line: usize, events: &mut Events<'_>, depth: usize) -> Result<Node, Wrong> {
    if depth > MAX_DEPTH {
        return Err(Wrong::new(line, "this is nested too deep"));
    }
    let value = match event {
        Event::Scalar(_, _, anchor, tag) if anchor > 0 || tag.is_some() => return Err(no_anchors(line)),
        Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) if anchor > 0 || tag.is_some() => {
            return Err(no_anchors(line));
        }
        Event::Alias(_) => return Err(no_anchors(line)),
        Event::Scalar(text, style, ..) => {
            let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
            Value::Scalar((!is_null).then(|| text.into_owned()))
        }
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    (Event::SequenceEnd, _) => break Value::List(items),
                    (event, line) => items.push(node(event, line, events, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut pairs: Vec<(Node, Node)> = Vec::new();
            loop {
                let key = match next(events)? {
                    (Event::MappingEnd, _) => break Value::Map(pairs),
                    (event, line) => node(event, line, events, depth + 1)?,
                };
                let name = key.text()?;
                if pairs.iter().any(|(other, _)| other.text() == Ok(name)) {
                    return Err(Wrong::new(key.line, format!("{name:?} comes twice")));
                }
                let (event, line) = next(events)?;
                let value = node(event, line, events, depth + 1)?;
                pairs.push((key, value));
            }
        }
        _ => return Err(Wrong::new(line, "this has no end")),
    };
    Ok(Node { line, value })
}

fn no_anchors(line: usize) -> Wrong {
    Wrong::new(line, "anchors, aliases and tags are not known here; write the value out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_lines() {
        let documents = parse("a: 1\nb:\n  - x\n  - 'null'\n  - ~\n---\nc: {d: e}\n").unwrap();
        assert_eq!(documents.len(), 2);
        let map = documents[0].map().unwrap();
        assert_eq!((map[0].0.line, map[0].1.text().unwrap()), (1, "1"));
        let items = map[1].1.items();
        assert_eq!((items[1].line, items[1].text().unwrap()), (4, "null"));
        assert!(matches!(items[2].value, Value::Scalar(None)));
        assert_eq!(documents[1].map().unwrap()[0].1.map().unwrap()[0].0.line, 7);
    }

    #[test]
    fn what_could_surprise_is_refused() {
        for (text, line, what) in [
            ("a: 1\nb: 2\na: 3\n", 3, "comes twice"),
            ("a: &x 1\nb: *x\n", 1, "aliases"),
            ("a: !!binary abc\n", 1, "tags"),
            ("a: [1, 2\n", 2, "no YAML"),
            ("? [a]\n: b\n", 1, "single value"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.line == line && wrong.what.contains(what), "{text}: {wrong:?}");
        }
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(parse(&deep).is_err());
    }
}
