//! What Debian's package managers log: `dpkg.log`, `apt/history.log`.
//!
//! Promises: each package of an upgrade is a value of its own, names and versions in the same order.
//! Not promised: which stanza a line of `apt/history.log` belongs to; its time stands in the stanza's first line alone.
#![forbid(unsafe_code)]

use memchr::memchr;

use super::scan::{split, text, word};
use super::{Context, Event, Field, Format, time};

/// A line of `dpkg.log` behind its time: `install curl:amd64 <none> 7.88.1-10`.
pub fn parse_log(rest: &[u8]) -> Option<Event<'_>> {
    let mut event = Event::new(Format::Dpkg, rest);
    let (action, behind) = word(rest);
    match action {
        b"startup" => {
            let (kind, what) = word(behind);
            if !matches!(kind, b"archives" | b"packages") || what.is_empty() {
                return None;
            }
            event.put_action("startup", None);
        }
        b"status" => {
            let (state, behind) = word(behind);
            let (package, version) = word(behind);
            if package.is_empty() || !is_version(version) {
                return None;
            }
            event.put(Field::Action, text(state));
            put_package(&mut event, package);
            put_version(&mut event, Field::PackageVersion, version);
        }
        b"conffile" => {
            let (path, decision) = word(behind);
            if !path.starts_with(b"/") || !matches!(decision, b"keep" | b"install") {
                return None;
            }
            event.put_action(if decision == b"keep" { "conffile_keep" } else { "conffile_install" }, None);
            event.put(Field::FilePath, text(path));
        }
        b"install" | b"upgrade" | b"configure" | b"trigproc" | b"remove" | b"purge" | b"disappear" => {
            let (package, behind) = word(behind);
            let (old, new) = word(behind);
            if !is_version(old) || !is_version(new) {
                return None;
            }
            event.put(Field::Action, text(action));
            put_package(&mut event, package);
            // The second version is what is there afterwards, where anything is.
            if matches!(action, b"install" | b"upgrade") {
                put_version(&mut event, Field::PackageVersion, new);
                put_version(&mut event, Field::PackageOldVersion, old);
            } else {
                put_version(&mut event, Field::PackageVersion, old);
            }
        }
        _ => return None,
    }
    Some(event)
}

/// A version begins with a digit (deb-version(7)).
fn is_version(word: &[u8]) -> bool {
    word == b"<none>" || word.first().is_some_and(u8::is_ascii_digit) && memchr(b' ', word).is_none()
}

fn put_package<'a>(event: &mut Event<'a>, package: &'a [u8]) {
    match memchr(b':', package) {
        Some(at) => {
            event.put_text(Field::PackageName, &package[..at]);
            event.put_text(Field::PackageArchitecture, &package[at + 1..]);
        }
        None => event.put_text(Field::PackageName, package),
    }
}

fn put_version<'a>(event: &mut Event<'a>, field: Field, version: &'a [u8]) {
    if version != b"<none>" {
        event.put_text(field, version);
    }
}

/// A line of `apt/history.log`: `Install: curl:amd64 (7.88.1-10), libcurl4:amd64 (7.88.1-10, automatic)`.
pub fn parse_apt<'a>(line: &'a [u8], context: &Context) -> Option<Event<'a>> {
    let (name, value) = split(line.get(..line.len().min(32))?, b": ").map(|(name, _)| (name, &line[name.len() + 2..]))?;
    let mut event = Event::new(Format::Apt, line);
    match name {
        b"Start-Date" | b"End-Date" | b"Log started" | b"Log ended" => {
            let [date @ .., b' ', _, _, b':', _, _, b':', _, _] = value else { return None };
            let date = date.trim_ascii_end();
            // Two spaces are between them.
            let mut stamp = [b' '; 19];
            stamp[..10].copy_from_slice(date.get(..10).filter(|start| *start == date)?);
            stamp[11..].copy_from_slice(&value[value.len() - 8..]);
            event.time = Some(time::iso(&stamp, context)?.0);
            event.put_action(if matches!(name, b"Start-Date" | b"Log started") { "start" } else { "end" }, None);
        }
        b"Install" | b"Reinstall" | b"Upgrade" | b"Downgrade" | b"Remove" | b"Purge" => {
            // Other logs have lines that begin so: the first package shows that this is none of them.
            package(value)?;
            event.put(Field::Action, std::borrow::Cow::Owned(text(name).to_ascii_lowercase()));
            let mut rest = value;
            while let Some((package, old, new, behind)) = package(rest) {
                put_package(&mut event, package);
                match (old, name) {
                    (Some(old), b"Upgrade" | b"Downgrade") => {
                        event.put_text(Field::PackageVersion, old);
                        event.put_text(Field::PackageOldVersion, new);
                    }
                    _ => event.put_text(Field::PackageVersion, new),
                }
                rest = behind;
            }
        }
        // Nothing in the line itself tells these from lines of another log.
        b"Commandline" | b"Requested-By" | b"Error" | b"Comment" if context.log.contains("apt") => match name {
            b"Commandline" => event.put_text(Field::CommandLine, value),
            b"Requested-By" => {
                let (user, id) = split(value, b" (").unwrap_or((value, b""));
                event.put_text(Field::UserName, user);
                event.put_text(Field::UserId, id.strip_suffix(b")").unwrap_or(id));
            }
            b"Error" => {
                event.put_action("error", Some(false));
                event.put_text(Field::Reason, value);
            }
            _ => {}
        },
        _ => return None,
    }
    Some(event)
}

type Package<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8], &'a [u8]);

/// `name:architecture (version)`: the package, what is behind a comma in the parentheses, what is before it, the rest.
fn package(list: &[u8]) -> Option<Package<'_>> {
    let (name, rest) = word(list);
    let inner = rest.strip_prefix(b"(")?;
    memchr(b':', name)?;
    let close = memchr(b')', inner)?;
    let rest = &inner[close + 1..];
    let rest = rest.strip_prefix(b", ").unwrap_or(rest);
    Some(match split(&inner[..close], b", ") {
        Some((first, second)) => (name, Some(second), first, rest),
        None => (name, None, &inner[..close], rest),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_in};
    use super::*;

    #[test]
    fn the_log_of_dpkg() {
        for (rest, expected) in [
            (
                "install curl:amd64 <none> 7.88.1-10+deb12u5",
                "event.action=install package.name=curl package.architecture=amd64 package.version=7.88.1-10+deb12u5",
            ),
            (
                "upgrade libc6:amd64 2.36-9 2.36-10",
                "event.action=upgrade package.name=libc6 package.architecture=amd64 package.version=2.36-10 sealedlog.package.old_version=2.36-9",
            ),
            (
                "status half-configured man-db:amd64 2.11.2-2",
                "event.action=half-configured package.name=man-db package.architecture=amd64 package.version=2.11.2-2",
            ),
            ("remove x:all 1:2-3 <none>", "event.action=remove package.name=x package.architecture=all package.version=1:2-3"),
            ("startup archives unpack", "event.action=startup"),
            ("conffile /etc/x.conf keep", "event.action=conffile_keep file.path=/etc/x.conf"),
        ] {
            let line = format!("2026-01-31 12:00:00 {rest}");
            check(Format::Dpkg, &line, &format!("@timestamp=2026-01-31T12:00:00Z event.dataset=dpkg.log {expected}"));
        }
        for rest in ["install it now please", "status ok", "startup", "upgrade"] {
            check(Format::Dated, &format!("2026-01-31 12:00:00 {rest}"), "@timestamp=2026-01-31T12:00:00Z event.dataset=dated");
        }
    }

    #[test]
    fn the_history_of_apt() {
        check(
            Format::Apt,
            "Install: curl:amd64 (7.88.1-10), libcurl4:amd64 (7.88.1-10, automatic)",
            "event.dataset=apt.history event.action=install package.name=curl package.architecture=amd64 package.version=7.88.1-10 \
             package.name=libcurl4 package.architecture=amd64 package.version=7.88.1-10",
        );
        check(
            Format::Apt,
            "Upgrade: libc6:amd64 (2.36-9, 2.36-10)",
            "event.dataset=apt.history event.action=upgrade package.name=libc6 package.architecture=amd64 package.version=2.36-10 \
             sealedlog.package.old_version=2.36-9",
        );
        check(
            Format::Apt,
            "Start-Date: 2026-01-31  12:00:00",
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apt.history event.action=start",
        );
        check(
            Format::Apt,
            "Log ended: 2026-01-31  12:00:00",
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apt.history event.action=end",
        );
        let apt = Context { log: "apt/history.log".to_owned(), ..Context::default() };
        check_in(
            &apt,
            Format::Apt,
            "Commandline: apt-get install curl",
            "event.dataset=apt.history process.command_line=apt-get␣install␣curl",
        );
        check_in(&apt, Format::Apt, "Requested-By: alice (1000)", "event.dataset=apt.history user.name=alice user.id=1000");
        for line in
            ["Commandline: apt-get install curl", "Install: it", "Start-Date: 2026-01-31 and more 12:00:00", "Remove: (x)"]
        {
            check(Format::Unknown, line, "event.dataset=unknown");
        }
    }
}
