//! Selections of rules: which fields have which values.
//!
//! Promises: Sigma's meaning of values and modifiers (words match whatever their case, `*` and `?` stand for others); what is not known is
//! an error; expressions take time in proportion to the line.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use super::yaml::{Node, Value as Yaml, Wrong};
use crate::audit::event::{Event, Field, Value};

/// Names that Sigma's rules for web servers use (W3C Extended Log Format), and the fields that are meant.
const WEB_NAMES: [(&str, &[Field]); 13] = [
    ("c-ip", &[Field::SourceIp, Field::SourceDomain]),
    ("cs-method", &[Field::RequestMethod]),
    ("cs-uri", &[Field::UrlOriginal]),
    ("cs-uri-stem", &[Field::UrlPath]),
    // The rules mean path and query by it.
    ("cs-uri-query", &[Field::UrlOriginal]),
    ("sc-status", &[Field::ResponseStatus]),
    ("sc-bytes", &[Field::ResponseBytes]),
    ("cs-user-agent", &[Field::UserAgent]),
    ("c-useragent", &[Field::UserAgent]),
    ("cs-referer", &[Field::RequestReferrer]),
    ("cs-host", &[Field::UrlDomain]),
    ("cs-username", &[Field::UserName]),
    ("cs-version", &[Field::HttpVersion]),
];

/// Expressions of users are compiled to no more than this, in bytes.
const MAX_EXPRESSION: usize = 1 << 20;

/// One of several sets of checks holds, as a whole.
#[derive(Clone, Debug)]
pub struct Selection(Vec<Vec<Check>>);

#[derive(Clone, Debug)]
struct Check {
    /// Any of them; the whole line where there is none.
    fields: Vec<Field>,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// It is not there.
    Absent,
    /// It is there, with whatever value.
    Present,
    /// It is one of these words.
    Words(Vec<String>),
    /// One of these finds something in it.
    Any(Vec<Regex>),
    /// All of these do.
    All(Vec<Regex>),
    /// It is an address of one of these networks.
    Networks(Vec<(IpAddr, u8)>),
    /// It is a number that compares so to this one.
    Number(Vec<Ordering>, i64),
}

/// The fields that a name in a rule means.
pub fn fields_named(name: &str, line: usize) -> Result<Vec<Field>, Wrong> {
    let mut fields: Vec<Field> = Field::named(name).collect();
    if let Some((_, web)) = WEB_NAMES.iter().find(|(web, _)| *web == name) {
        fields.extend_from_slice(web);
    }
    if fields.is_empty() {
        return Err(Wrong::new(line, format!("no field is called {name:?}")));
    }
    Ok(fields)
}

impl Selection {
    /// Reads a selection: a map of fields, a list of such maps, or a list of keywords.
    pub fn parse(node: &Node) -> Result<Self, Wrong> {
        let mut any = Vec::new();
        let mut keywords = Vec::new();
        for item in node.items() {
            match &item.value {
                Yaml::Map(pairs) if pairs.is_empty() => return Err(Wrong::new(item.line, "this selects everything")),
                Yaml::Map(pairs) => {
                    any.push(pairs.iter().map(|(name, value)| check(name, value)).collect::<Result<Vec<_>, _>>()?);
                }
                Yaml::List(_) => return Err(Wrong::new(item.line, "a list in a list means nothing here")),
                Yaml::Scalar(_) => keywords.push(pattern(item.text()?, Part::Somewhere)),
            }
        }
        if !keywords.is_empty() {
            let test = Test::Any(vec![expression(&one_of(&keywords), node.line)?]);
            any.push(vec![Check { fields: Vec::new(), test }]);
        }
        if any.is_empty() {
            return Err(Wrong::new(node.line, "a selection without anything in it"));
        }
        Ok(Self(any))
    }

    /// Whether an event, and the line that it was read from, are selected.
    pub fn selects(&self, event: &Event<'_>, line: &str) -> bool {
        self.0.iter().any(|checks| checks.iter().all(|check| check.holds(event, line)))
    }
}

impl Check {
    fn holds(&self, event: &Event<'_>, line: &str) -> bool {
        if self.fields.is_empty() {
            return self.test.accepts(&Value::Text(line.into()));
        }
        let mut values = self.fields.iter().flat_map(|field| event.values(*field));
        match self.test {
            Test::Absent => values.next().is_none(),
            Test::Present => values.next().is_some(),
            _ => values.any(|value| self.test.accepts(&value)),
        }
    }
}

impl Test {
    fn accepts(&self, value: &Value<'_>) -> bool {
        let on_text = |accepts: &dyn Fn(&str) -> bool| match value {
            Value::Text(text) => accepts(text),
            other => accepts(&other.to_string()),
        };
        match self {
            Self::Absent => false,
            Self::Present => true,
            Self::Words(words) => on_text(&|text| words.iter().any(|word| word.eq_ignore_ascii_case(text))),
            Self::Any(any) => on_text(&|text| any.iter().any(|one| one.is_match(text))),
            Self::All(all) => on_text(&|text| all.iter().all(|one| one.is_match(text))),
            Self::Networks(networks) => {
                let address = match value {
                    Value::Ip(address) => Some(*address),
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                };
                address.is_some_and(|address| networks.iter().any(|network| is_in(address, *network)))
            }
            Self::Number(orders, limit) => {
                let number = match value {
                    Value::Number(number) => Some(*number),
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                };
                number.is_some_and(|number| orders.contains(&number.cmp(limit)))
            }
        }
    }
}

/// Where a value may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Somewhere,
    Start,
    End,
}

/// `field|modifier|modifier: values`
fn check(name: &Node, value: &Node) -> Result<Check, Wrong> {
    let wrong = |what: String| Wrong::new(name.line, what);
    let mut words = name.text()?.split('|');
    let fields = match words.next().unwrap_or_default() {
        // `|all: [words]`: keywords.
        "" => Vec::new(),
        field => fields_named(field, name.line)?,
    };
    let modifiers: Vec<&str> = words.collect();
    let has = |modifier: &str| modifiers.contains(&modifier);
    let mut part = if fields.is_empty() { Part::Somewhere } else { Part::Whole };
    for modifier in &modifiers {
        match *modifier {
            "contains" => part = Part::Somewhere,
            "startswith" => part = Part::Start,
            "endswith" => part = Part::End,
            "all" | "re" | "cidr" | "gt" | "gte" | "lt" | "lte" | "exists" | "cased" | "i" | "m" | "s" => {}
            other => return Err(wrong(format!("the modifier {other:?} is not known"))),
        }
    }
    if matches!(value.value, Yaml::Map(_)) {
        return Err(Wrong::new(value.line, "values belong here, no map"));
    }
    let items = value.items();
    if items.is_empty() {
        return Err(Wrong::new(value.line, "a value is missing"));
    }
    let one = || match items {
        [one] => one.text(),
        _ => Err(wrong("only one value can belong to this modifier".to_owned())),
    };
    let comparison = [
        ("gt", vec![Ordering::Greater]),
        ("gte", vec![Ordering::Greater, Ordering::Equal]),
        ("lt", vec![Ordering::Less]),
        ("lte", vec![Ordering::Less, Ordering::Equal]),
    ];
    let test = if let Some((_, orders)) = comparison.into_iter().find(|(modifier, _)| has(modifier)) {
        let text = one()?;
        Test::Number(orders, text.parse().map_err(|_| wrong(format!("{text:?} is no whole number")))?)
    } else if has("exists") {
        match one()? {
            "true" => Test::Present,
            "false" => Test::Absent,
            other => return Err(wrong(format!("{other:?} is neither true nor false"))),
        }
    } else if has("cidr") {
        Test::Networks(items.iter().map(network).collect::<Result<_, _>>()?)
    } else if items.iter().any(|item| matches!(item.value, Yaml::Scalar(None))) {
        if items.len() > 1 {
            return Err(wrong("null and other values cannot be in one list".to_owned()));
        }
        Test::Absent
    } else if has("re") {
        let flags: String = modifiers.iter().filter(|modifier| matches!(**modifier, "i" | "m" | "s")).copied().collect();
        let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
        let expressions = items.iter().map(|item| expression(&format!("{flags}{}", item.text()?), item.line));
        all_or_any(has("all"), expressions.collect::<Result<_, _>>()?)
    } else {
        let case = if has("cased") { "(?s)" } else { "(?is)" };
        let texts = items.iter().map(Node::text).collect::<Result<Vec<_>, _>>()?;
        let is_plain = |text: &&str| !text.contains(['*', '?', '\\']) && text.is_ascii();
        if part == Part::Whole && !has("cased") && !has("all") && texts.iter().all(is_plain) {
            Test::Words(texts.iter().map(|text| (*text).to_owned()).collect())
        } else {
            let patterns: Vec<String> = texts.iter().map(|text| pattern(text, part)).collect();
            if has("all") {
                let all = patterns.iter().map(|pattern| expression(&format!("{case}{pattern}"), value.line));
                Test::All(all.collect::<Result<_, _>>()?)
            } else {
                Test::Any(vec![expression(&one_of(&patterns).replacen("(?is)", case, 1), value.line)?])
            }
        }
    };
    Ok(Check { fields, test })
}

fn all_or_any(all: bool, expressions: Vec<Regex>) -> Test {
    if all { Test::All(expressions) } else { Test::Any(expressions) }
}

fn one_of(patterns: &[String]) -> String {
    format!("(?is){}", patterns.join("|"))
}

/// A value with Sigma's wildcards as an expression.
fn pattern(text: &str, part: Part) -> String {
    let mut pattern = String::new();
    if matches!(part, Part::Whole | Part::Start) {
        pattern.push('^');
    }
    let mut characters = text.chars().peekable();
    let mut buffer = [0; 4];
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('\\', Some(escaped @ ('*' | '?' | '\\'))) => {
                pattern.push_str(&regex::escape(escaped.encode_utf8(&mut buffer)));
                characters.next();
            }
            ('*', _) => pattern.push_str(".*"),
            ('?', _) => pattern.push('.'),
            (c, _) => pattern.push_str(&regex::escape(c.encode_utf8(&mut buffer))),
        }
    }
    if matches!(part, Part::Whole | Part::End) {
        pattern.push('$');
    }
    pattern
}

fn expression(text: &str, line: usize) -> Result<Regex, Wrong> {
    let built = RegexBuilder::new(text).size_limit(MAX_EXPRESSION).build();
    built.map_err(|error| Wrong::new(line, format!("the regular expression cannot be used: {error}")))
}

/// `203.0.113.0/24`, or a single address.
fn network(node: &Node) -> Result<(IpAddr, u8), Wrong> {
    let text = node.text()?;
    let wrong = || Wrong::new(node.line, format!("{text:?} is no network; write for instance 192.0.2.0/24"));
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
    if length > most { Err(wrong()) } else { Ok((address, length)) }
}

fn is_in(address: IpAddr, (network, length): (IpAddr, u8)) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(length);
        shift >= width || a >> shift == b >> shift
    };
    match (address.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use crate::audit::event::{Context, parse};

    const LINE: &str = r#"203.0.113.7 - bob [31/Jan/2026:12:00:00 +0000] "GET /a/b.php?x=1 HTTP/1.1" 404 512 "-" "Sqlmap/1.7""#;

    fn selection(text: &str) -> Result<Selection, Wrong> {
        Selection::parse(&yaml::parse(text).unwrap()[0])
    }

    #[test]
    fn selections_mean_what_sigma_says() {
        let event = parse(LINE.as_bytes(), &Context::default());
        for (text, expected) in [
            ("source.ip: 203.0.113.7", true),
            ("c-ip: 203.0.113.8", false),
            ("client|cidr: 203.0.113.0/24", true),
            ("client|cidr: [192.0.2.0/24, '::/0']", false),
            ("client|cidr: 0.0.0.0/0", true),
            ("user_agent.original|contains: sqlmap", true),
            ("user_agent.original|contains|cased: sqlmap", false),
            ("user_agent.original: 'sqlmap*'", true),
            ("user_agent.original: sqlmap", false),
            ("user_agent.original|startswith: [nikto, SQLMAP]", true),
            ("url.path|endswith: .php", true),
            ("url.path|contains: '?'", true),
            (r"url.path|contains: '\?'", false),
            ("url.path|contains|all: [/a, .php]", true),
            ("url.path|contains|all: [/a, .asp]", false),
            ("url.path|re: '^/a/[a-c]\\.php$'", true),
            ("url.path|re: '^/A'", false),
            ("url.path|re|i: '^/A'", true),
            ("status: 404", true),
            ("status: [403, 404]", true),
            ("status|gte: 404", true),
            ("status|gt: 404", false),
            ("status|lt: 500", true),
            ("bytes|lte: 511", false),
            ("referrer: null", true),
            ("referrer|exists: false", true),
            ("user|exists: true", true),
            ("user: null", false),
            ("{user: bob, status: 404}", true),
            ("{user: bob, status: 200}", false),
            ("[{status: 200}, {user: BOB}]", true),
            ("[nothing, b.PHP]", true),
            ("'|all': [b.php, sqlmap]", true),
        ] {
            assert_eq!(selection(text).unwrap().selects(&event, LINE), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, what) in [
            ("colour: red", "no field"),
            ("status|base64: x", "modifier"),
            ("status|gt: many", "whole number"),
            ("status|gt: [1, 2]", "only one value"),
            ("client|cidr: 192.0.2.0/33", "no network"),
            ("url.path|re: '('", "regular expression"),
            ("url.path|re: '(?:\\w{900}){900}'", "regular expression"),
            ("url.path: {a: b}", "no map"),
            ("[]", "without anything"),
            ("{}", "selects everything"),
            ("status: [404, null]", "null"),
            ("status|exists: maybe", "neither"),
        ] {
            let wrong = selection(text).unwrap_err();
            assert!(wrong.what.contains(what), "{text}: {wrong:?}");
        }
    }
}
