//! Names of hosts, logs and programs as they are typed.
#![forbid(unsafe_code)]

/// A name in which `*` stands for any characters and `?` for one. It means the whole name or, as the name of a file does, what
/// follows a slash in it; letters in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// As it was typed.
    pub fn new(typed: &str) -> Self {
        Self(typed.to_lowercase())
    }

    /// Whether it means this one.
    pub fn is(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let ends = text.match_indices('/').map(|(at, _)| &text[at + 1..]);
        std::iter::once(&text[..]).chain(ends).any(|end| fits(&self.0, end))
    }
}

/// Goes back to the last `*` only: what an earlier one could still take, the last one can.
fn fits(name: &str, text: &str) -> bool {
    let (name, text): (Vec<char>, Vec<char>) = (name.chars().collect(), text.chars().collect());
    let (mut at, mut in_text, mut star) = (0, 0, None);
    while in_text < text.len() {
        match name.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(&c) if c == '?' || c == text[in_text] => (at, in_text) = (at + 1, in_text + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, in_text) = (star_at + 1, taken + 1);
            }
        }
    }
    name[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_their_stars_allow() {
        let is = |name: &str, text| Name::new(name).is(text);
        for (name, text) in [
            ("web1", "web1"),
            ("WEB1", "web1.example"),
            ("web?", "web12"),
            ("web*", "xweb"),
            ("a*b*c", "a-b-c-d"),
            ("log", "/var/log/x.log"),
            ("", "x"),
        ] {
            assert_eq!(is(name, text), (name, text) == ("web1", "web1"), "{name} {text}");
        }
        for (name, text) in [
            ("WEB1", "Web1"),
            ("web*", "web"),
            ("*.log", "/var/log/apache2/access.log"),
            ("access.log", "/var/log/apache2/access.log"),
            ("apache2/access.log", "/var/log/apache2/access.log"),
            ("/var/log/apache2/access.log", "/var/log/apache2/access.log"),
            ("a*b*c", "a-bb-b-c"),
            ("**", ""),
            ("gr?n", "gr\u{fc}n"),
            ("smtpd", "postfix/smtpd"),
        ] {
            assert!(is(name, text), "{name} {text}");
        }
    }
}
