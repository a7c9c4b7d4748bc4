//! What is asked of one field: `status>=500`, `client=192.0.2.0/24`, `agent~curl`.
//!
//! Promises: what is typed and cannot hold for any line is an error, not an empty answer.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::audit::event::{Event, Field, Kind, Value};

/// An expression takes no more memory than this, in bytes.
const MAX_EXPRESSION: usize = 4 << 20;
/// So many letters may be wrong in a name that is offered for it.
const MAX_TYPOS: usize = 3;

/// What was typed asks nothing that can be answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FieldError {
    /// There is no operator in it.
    #[error("{0:?} compares nothing; write NAME=VALUE, or with !=, ~ (expression), !~, <, <=, > or >=")]
    NoOperator(String),
    /// There is no such field.
    #[error("there is no field {name:?}{}", offered(near))]
    NoField {
        /// As typed.
        name: String,
        /// Names that are written in a similar way.
        near: Vec<&'static str>,
    },
    /// The field's values cannot be compared in this way.
    #[error("{name} cannot be asked for {operator}{value}: its values are {kinds}")]
    NoSuchValue {
        /// The field, as typed.
        name: String,
        /// As typed.
        operator: &'static str,
        /// As typed.
        value: String,
        /// What its values are.
        kinds: String,
    },
    /// The regular expression is none.
    #[error("{0}")]
    Expression(regex::Error),
}

fn offered(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) }
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Matches,
    MatchesNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Operator {
    /// Those of two characters first.
    const ALL: [(&'static str, Self); 8] = [
        ("!=", Self::IsNot),
        ("!~", Self::MatchesNot),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("=", Self::Is),
        ("~", Self::Matches),
        ("<", Self::Less),
        (">", Self::More),
    ];

    fn compares<T: Ord>(self, value: &T, with: &T) -> bool {
        match self {
            Self::Is | Self::IsNot => value == with,
            Self::Less => value < with,
            Self::AtMost => value <= with,
            Self::More => value > with,
            Self::AtLeast => value >= with,
            Self::Matches | Self::MatchesNot => false,
        }
    }
}

/// What values are compared with.
#[derive(Clone, Debug)]
enum Operand {
    Text(String),
    Number(i64),
    /// An address and how many of its bits count.
    Network(IpAddr, u32),
    Time(Timestamp),
    Expression(Regex),
}

/// What is asked of one field.
#[derive(Clone, Debug)]
pub struct FieldTest {
    operator: Operator,
    /// The fields that its name means, each with what its values are compared with.
    fields: Vec<(Field, Operand)>,
}

impl FromStr for FieldTest {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let at = text.find(['=', '!', '~', '<', '>']).filter(|at| *at > 0);
        let (name, rest) = text.split_at(at.ok_or_else(|| FieldError::NoOperator(text.to_owned()))?);
        let known = Operator::ALL.iter().find(|(typed, _)| rest.starts_with(typed));
        let &(typed, operator) = known.ok_or_else(|| FieldError::NoOperator(text.to_owned()))?;
        let value = &rest[typed.len()..];
        let named: Vec<Field> = Field::named(name).collect();
        if named.is_empty() {
            return Err(FieldError::NoField { name: name.to_owned(), near: similar(name) });
        }
        let mut fields = Vec::new();
        for field in &named {
            fields.extend(operand(operator, field.kind(), value)?.map(|operand| (*field, operand)));
        }
        if fields.is_empty() {
            let mut kinds: Vec<_> = named.iter().map(|field| kind_name(field.kind())).collect();
            kinds.dedup();
            let (name, value, kinds) = (name.to_owned(), value.to_owned(), kinds.join(" or "));
            return Err(FieldError::NoSuchValue { name, operator: typed, value, kinds });
        }
        Ok(Self { operator, fields })
    }
}

impl FieldTest {
    /// Whether it holds for an event. Without the field nothing does; of more values any will do, and for `!=` and `!~` none may be
    /// equal.
    pub fn holds(&self, event: &Event<'_>) -> bool {
        let mut met = self
            .fields
            .iter()
            .flat_map(|(field, operand)| event.values(*field).map(move |value| meets(&value, self.operator, operand)));
        if matches!(self.operator, Operator::IsNot | Operator::MatchesNot) {
            let first = met.next();
            first == Some(false) && !met.any(|met| met)
        } else {
            met.any(|met| met)
        }
    }
}

/// What the values of this kind are compared with; `None` where they cannot be.
fn operand(operator: Operator, kind: Kind, value: &str) -> Result<Option<Operand>, FieldError> {
    if matches!(operator, Operator::Matches | Operator::MatchesNot) {
        let expression = RegexBuilder::new(value).size_limit(MAX_EXPRESSION).build().map_err(FieldError::Expression)?;
        return Ok(Some(Operand::Expression(expression)));
    }
    let orders = !matches!(operator, Operator::Is | Operator::IsNot);
    Ok(match kind {
        Kind::Text => (!orders).then(|| Operand::Text(value.to_owned())),
        Kind::Number => value.parse().ok().map(Operand::Number),
        Kind::Ip => network(value).filter(|_| !orders).map(|(address, bits)| Operand::Network(address, bits)),
        Kind::Time => value.parse().ok().map(Operand::Time),
    })
}

/// An address, or a network in CIDR notation.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    Some((address, bits))
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, most: u32| bits == 0 || (a ^ b) >> (most - bits) == 0;
    // An IPv4 client of a socket for both is one all the same.
    match (address.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (_, IpAddr::V6(b)) => match address {
            IpAddr::V6(a) => same(a.to_bits(), b.to_bits(), 128),
            IpAddr::V4(_) => false,
        },
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn meets(value: &Value<'_>, operator: Operator, operand: &Operand) -> bool {
    match (value, operand) {
        (Value::Text(text), Operand::Expression(expression)) => expression.is_match(text),
        (value, Operand::Expression(expression)) => expression.is_match(&value.to_string()),
        (Value::Text(text), Operand::Text(with)) => *text == **with,
        (Value::Number(number), Operand::Number(with)) => operator.compares(number, with),
        (Value::Time(time), Operand::Time(with)) => operator.compares(time, with),
        (Value::Ip(address), Operand::Network(network, bits)) => is_in(*address, *network, *bits),
        _ => false,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text (=, !=, ~, !~)",
        Kind::Number => "whole numbers",
        Kind::Ip => "addresses (=, !=, with /BITS for a network)",
        Kind::Time => "time stamps of RFC 3339",
    }
}

/// Names and short names that differ in a few letters, or of which this is a part.
fn similar(name: &str) -> Vec<&'static str> {
    let names = Field::ALL.iter().flat_map(|field| std::iter::once(field.name()).chain(field.aliases().iter().copied()));
    let lower = name.to_lowercase();
    let most = MAX_TYPOS.min(name.chars().count() / 2);
    let mut similar: Vec<_> = names
        .map(|known| (if lower.len() > 2 && known.contains(&lower) { 1 } else { typos(&lower, known) }, known))
        .filter(|(typos, _)| *typos <= most)
        .collect();
    similar.sort_unstable();
    similar.dedup();
    similar.into_iter().take(5).map(|(_, known)| known).collect()
}

/// How many letters are to be changed, added or left out (Levenshtein).
fn typos(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Context, parse};

    fn holds(test: &str, line: &str) -> bool {
        test.parse::<FieldTest>()
            .unwrap_or_else(|error| panic!("{test}: {error}"))
            .holds(&parse(line.as_bytes(), &Context::default()))
    }

    #[test]
    fn fields_are_compared_by_what_they_are() {
        let access = "2001:db8::7 - alice [01/Feb/2026:12:00:01 +0000] \"GET /a?b=c HTTP/1.1\" 404 12 \"-\" \"curl/8\"";
        for (test, expected) in [
            ("status=404", true),
            ("status!=404", false),
            ("status>=500", false),
            ("status<500", true),
            ("status>404", false),
            ("status<=404", true),
            ("status~^4", true),
            ("status!~^4", false),
            ("bytes<100", true),
            ("client=2001:db8::/32", true),
            ("client=2001:db8::8/127", false),
            ("client!=2001:db8::/32", false),
            ("client=192.0.2.0/0", false),
            ("client~^2001:", true),
            ("user=alice", true),
            ("user=Alice", false),
            ("path=/a", true),
            ("url=/a?b=c", true),
            ("user_agent.original~curl", true),
            ("jail=sshd", false),
            ("jail!=sshd", false),
            ("time>=2026-02-01T12:00:01Z", true),
            ("time<2026-02-01T12:00:01Z", false),
            ("status=sent", false),
            ("message~GET", true),
        ] {
            assert_eq!(holds(test, access), expected, "{test}");
        }
        let mapped = access.replace("2001:db8::7", "::ffff:192.0.2.7");
        assert!(holds("client=192.0.2.0/24", &mapped) && holds("client=::ffff:0:0/96", &mapped));
    }

    #[test]
    fn what_cannot_be_answered_is_an_error_that_helps() {
        let error = |test: &str| test.parse::<FieldTest>().unwrap_err().to_string();
        assert!(error("status").contains("compares nothing"));
        assert!(error("=5").contains("compares nothing"));
        assert!(error("a!5").contains("compares nothing"));
        assert!(error("stauts=5").contains("there is no field \"stauts\"; there is status"), "{}", error("stauts=5"));
        assert!(error("qqqqqqq=5").ends_with("there is no field \"qqqqqqq\""));
        assert!(error("pid=x").contains("its values are whole numbers"));
        assert!(error("user<5").contains("its values are text"));
        assert!(error("source.ip=192.0.2.0/33").contains("its values are addresses"));
        assert!(error("user~(").contains("unclosed group"));
        assert!(error("user~(a{1000}){1000}{1000}").contains("size limit"));
        assert_eq!(typos("status", "stauts"), 2);
    }
}
