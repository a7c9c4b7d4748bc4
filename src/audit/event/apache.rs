//! Apache's access and error logs.
//!
//! Promises: a quote that a client sends ends nothing, as Apache escapes it; quoted values come without those escapes.
//! Not promised: log formats of one's own (`LogFormat`) beyond further values at the end of the line.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use memchr::{memchr, memchr2, memrchr};

use super::scan::{address, address_and_port, digits, find, last_word, number, quoted, split_last, text, unescape, word};
use super::{Context, Event, Field, Format, Severity, time};

/// As many fields as the combined format with a virtual host can give.
const MOST_FIELDS: usize = 15;
/// `31/Jan/2026:12:00:00 +0000`
const TIME_LENGTH: usize = 26;
/// No text of an error of the system is longer.
const LONGEST_ERROR: usize = 200;

/// The formats common, combined and vhost_combined of Debian's apache2.conf.
pub fn parse_access(line: &[u8]) -> Option<Event<'_>> {
    // The first bracket may belong to an address or to a name that a client gave: a quote cannot.
    let mut at = 0;
    let (time, before, rest) = loop {
        at += memchr(b'[', line.get(at..)?)?;
        let inner = &line[at + 1..];
        if let Some((stamp, [b']', b' ', rest @ ..])) = inner.split_at_checked(TIME_LENGTH)
            && let Some(time) = time::apache_access(stamp)
            && rest.starts_with(b"\"")
        {
            break (time, line[..at].strip_suffix(b" ")?, rest);
        }
        at += 1;
    };
    let (virtual_host, client, user) = head(before)?;

    let mut event = Event::new(Format::ApacheCommon, line);
    event.time = Some(time);
    event.fields.reserve(MOST_FIELDS);
    event.put_source(client);
    event.put_text_unescaped(Field::UserName, user);
    if let Some((name, port)) = virtual_host {
        event.put_text(Field::UrlDomain, name);
        event.put_number(Field::UrlPort, port);
    }
    let Some((request, rest)) = quoted(rest) else {
        // The line is torn; what there is of the request is still worth a search.
        put_request(&mut event, &rest[1..], false);
        return Some(event);
    };
    put_request(&mut event, request, true);
    let (status, rest) = word(rest.strip_prefix(b" ").unwrap_or(rest));
    event.put_number(Field::ResponseStatus, status);
    let (bytes, rest) = word(rest);
    event.put_number(Field::ResponseBytes, bytes);
    if let Some((referrer, rest)) = quoted(rest) {
        event.format = Format::ApacheCombined;
        event.put_text_unescaped(Field::RequestReferrer, referrer);
        if let Some(inner) = rest.strip_prefix(b" \"") {
            // What is left of it, if the line is torn.
            let agent = quoted(&rest[1..]).map_or(inner, |(agent, _)| agent);
            event.put_text_unescaped(Field::UserAgent, agent);
        }
    }
    if virtual_host.is_some() {
        event.format = Format::ApacheVhostCombined;
    }
    Some(event)
}

type Parts<'a> = (Option<(&'a [u8], &'a [u8])>, &'a [u8], &'a [u8]);

/// Virtual host and port, client, user out of `[host:port] client ident user`. A user's name may have spaces.
fn head(before: &[u8]) -> Option<Parts<'_>> {
    let (first, rest) = word(before);
    let (second, behind) = word(rest);
    if first.is_empty() || second.is_empty() {
        return None;
    }
    if let Some(colon) = memrchr(b':', first)
        && number(&first[colon + 1..]).is_some()
        && !behind.is_empty()
        && memchr(b' ', behind).is_some()
        && address(first).is_none()
    {
        let (_, user) = word(behind);
        return Some((Some((&first[..colon], &first[colon + 1..])), second, user));
    }
    // `ident` is `-` unless mod_ident is there.
    (!behind.is_empty()).then_some((None, first, behind))
}

/// `GET /path?query HTTP/1.1`, or whatever a client sent instead.
fn put_request<'a>(event: &mut Event<'a>, request: &'a [u8], is_whole: bool) {
    if request.is_empty() || request == b"-" {
        return;
    }
    let (method, rest) = word(request);
    let is_method = !method.is_empty()
        && method.len() <= 32
        && method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'));
    if !is_method || rest.is_empty() {
        event.put(Field::RequestLine, unescape(request));
        return;
    }
    let (target, version) = match last_word(rest) {
        (target, version) if version.starts_with(b"HTTP/") && !target.is_empty() => (target, Some(&version[5..])),
        _ => (rest, None),
    };
    event.put(Field::RequestMethod, text(method));
    event.put(Field::UrlOriginal, unescape(target));
    if is_whole && method != b"CONNECT" && target != b"*" {
        put_path(event, target);
    }
    if let Some(version) = version {
        event.put_text(Field::HttpVersion, version);
    }
}

fn put_path<'a>(event: &mut Event<'a>, target: &'a [u8]) {
    // A request to a proxy has scheme and host before its path.
    let path = match target.first() {
        Some(b'/') => target,
        _ => match find(target, b"://") {
            Some(at) => memchr(b'/', &target[at + 3..]).map_or(&[][..], |slash| &target[at + 3 + slash..]),
            None => target,
        },
    };
    let end = memchr2(b'?', b'#', path).unwrap_or(path.len());
    event.put_text_unescaped(Field::UrlPath, &path[..end]);
    if path.get(end) == Some(&b'?') {
        event.put_text_unescaped(Field::UrlQuery, &path[end + 1..]);
    }
}

/// The error log: `[time] [module:level] [pid 1:tid 2] [client address:port] AH00126: message, referer: …`, each part after the time
/// as it happens to be there; also that of Apache 2.2, `[time] [level] [client address] message`.
pub fn parse_error<'a>(line: &'a [u8], context: &Context) -> Option<Event<'a>> {
    let (stamp, mut rest) = bracketed(line)?;
    let mut event = Event::new(Format::ApacheError, line);
    event.time = Some(time::apache_error(stamp, context)?);
    let mut has_port = false;
    while let Some((part, behind)) = bracketed(rest.strip_prefix(b" ").unwrap_or(rest)) {
        if let Some(ids) = part.strip_prefix(b"pid ") {
            let (process, thread) = digits(ids);
            event.pid = number(process).and_then(|number| u32::try_from(number).ok());
            if let Some(thread) = thread.strip_prefix(b":tid ") {
                event.put_number(Field::ThreadId, thread);
            }
            has_port = true;
        } else if let Some(client) = part.strip_prefix(b"client ") {
            put_client(&mut event, client, has_port);
        } else if let Some(client) = part.strip_prefix(b"remote ") {
            put_client(&mut event, client, true);
        } else if event.severity.is_none()
            && let Some((module, severity)) = level(part)
        {
            event.severity = Some(severity);
            if let Some(module) = module {
                event.put_text(Field::ApacheModule, module);
                has_port = true;
            }
        } else {
            // A message may begin with a bracket itself.
            break;
        }
        rest = behind;
    }
    event.message = rest.strip_prefix(b" ").unwrap_or(rest);
    // The place in the source and what the system said may stand before the client: `(13)Permission denied: [client …] AH00132: …`.
    let mut body = event.message;
    for _ in 0..3 {
        if let Some((part, behind)) = bracketed(body)
            && let Some(client) = part.strip_prefix(b"client ")
        {
            put_client(&mut event, client, has_port);
            body = behind.strip_prefix(b" ").unwrap_or(behind);
        }
        if let Some(code) = code(body) {
            event.put_text(Field::Code, code);
            break;
        }
        let Some(at) = find(&body[..body.len().min(LONGEST_ERROR)], b": ") else { break };
        body = &body[at + 2..];
        if !body.starts_with(b"[client ") && !body.starts_with(b"(") && code(body).is_none() {
            break;
        }
    }
    if let Some((_, referrer)) = split_last(event.message, b", referer: ") {
        event.put_text_unescaped(Field::RequestReferrer, referrer);
    }
    Some(event)
}

/// `AH` and digits, before a colon: only what a module of Apache 2.4 writes has them.
fn code(body: &[u8]) -> Option<&[u8]> {
    let (digits, behind) = digits(body.strip_prefix(b"AH")?);
    ((4..=6).contains(&digits.len()) && behind.starts_with(b":")).then(|| &body[..2 + digits.len()])
}

fn bracketed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = bytes.strip_prefix(b"[")?;
    memchr(b']', inner).map(|at| (&inner[..at], &inner[at + 1..]))
}

/// `module:level`, or the level alone.
fn level(part: &[u8]) -> Option<(Option<&[u8]>, Severity)> {
    match memrchr(b':', part) {
        Some(at) => Some((Some(&part[..at]), Severity::from_bytes(&part[at + 1..])?)),
        None => Some((None, Severity::from_bytes(part)?)),
    }
}

/// Version 2.4 writes a port behind the address, without brackets around IPv6; 2.2 writes none.
fn put_client<'a>(event: &mut Event<'a>, client: &'a [u8], has_port: bool) {
    let with_port = address_and_port(client);
    let alone = address(client);
    match (with_port, alone) {
        (Some((address, port)), alone) if has_port || alone.is_none() => {
            event.put(Field::SourceIp, address);
            event.put(Field::SourcePort, port);
        }
        _ => event.put_source(client),
    }
}

impl<'a> Event<'a> {
    fn put_text_unescaped(&mut self, field: Field, bytes: &'a [u8]) {
        if !bytes.is_empty() && bytes != b"-" {
            let text: Cow<'a, str> = unescape(bytes);
            self.put(field, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn access_logs() {
        check(
            Format::ApacheCombined,
            r#"203.0.113.7 - alice [31/Jan/2026:12:00:00 +0100] "GET /a%20b?q=1&r=2 HTTP/1.1" 200 5120 "https://example.org/" "Mozilla/5.0 (X11)""#,
            "@timestamp=2026-01-31T11:00:00Z event.dataset=apache.access source.ip=203.0.113.7 user.name=alice http.request.method=GET \
             url.original=/a%20b?q=1&r=2 url.path=/a%20b url.query=q=1&r=2 http.version=1.1 http.response.status_code=200 \
             http.response.body.bytes=5120 http.request.referrer=https://example.org/ user_agent.original=Mozilla/5.0␣(X11)",
        );
        check(
            Format::ApacheCommon,
            r#"2001:db8::7 - - [31/Jan/2026:12:00:00 +0000] "HEAD / HTTP/2.0" 304 -"#,
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apache.access source.ip=2001:db8::7 http.request.method=HEAD url.original=/ \
             url.path=/ http.version=2.0 http.response.status_code=304",
        );
        check(
            Format::ApacheVhostCombined,
            r#"www.example.org:443 2001:db8::7 - - [31/Jan/2026:12:00:00 +0000] "POST /login HTTP/1.1" 401 381 "-" "curl/7.88.1""#,
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apache.access source.ip=2001:db8::7 url.domain=www.example.org url.port=443 \
             http.request.method=POST url.original=/login url.path=/login http.version=1.1 http.response.status_code=401 \
             http.response.body.bytes=381 user_agent.original=curl/7.88.1",
        );
        // Quotes, backslashes and other bytes of a client.
        check(
            Format::ApacheCombined,
            r#"host.example - - [31/Jan/2026:12:00:00 +0000] "GET /\"x\\y HTTP/1.1" 404 0 "-" "a \"b\" \x41\xc3\xa4\t\q" extra"#,
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apache.access source.domain=host.example http.request.method=GET \
             url.original=/\"x\\y url.path=/\"x\\y http.version=1.1 http.response.status_code=404 http.response.body.bytes=0 \
             user_agent.original=a␣\"b\"␣Aä\t\\q",
        );
        check(
            Format::ApacheCombined,
            r#"192.0.2.1 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "Mozilla/5.0 (to"#,
            "@timestamp=2026-01-31T12:00:00Z event.dataset=apache.access source.ip=192.0.2.1 http.request.method=GET url.original=/ url.path=/ \
             http.version=1.1 http.response.status_code=200 http.response.body.bytes=1 user_agent.original=Mozilla/5.0␣(to",
        );
        // Not HTTP, a time-out, HTTP/0.9, a proxy's request, a user with spaces and a bracket.
        for (request, expected) in [
            (
                r#""\x16\x03\x01" 400 0"#,
                "sealedlog.http.request_line=\u{16}\u{3}\u{1} http.response.status_code=400 http.response.body.bytes=0",
            ),
            (r#""-" 408 -"#, "http.response.status_code=408"),
            (
                r#""GET /" 200 1"#,
                "http.request.method=GET url.original=/ url.path=/ http.response.status_code=200 http.response.body.bytes=1",
            ),
            (
                r#""GET http://h.example/p?q HTTP/1.1" 403 -"#,
                "http.request.method=GET url.original=http://h.example/p?q url.path=/p url.query=q http.version=1.1 http.response.status_code=403",
            ),
            (
                r#""CONNECT h.example:443 HTTP/1.1" 405 -"#,
                "http.request.method=CONNECT url.original=h.example:443 http.version=1.1 http.response.status_code=405",
            ),
            (
                r#""GET /" 200 1 "torn"#,
                "http.request.method=GET url.original=/ url.path=/ http.response.status_code=200 http.response.body.bytes=1",
            ),
            (r#""GET /tor"#, "http.request.method=GET url.original=/tor"),
            (r#""#, ""),
        ] {
            let line = format!("192.0.2.1 - a [b c [31/Jan/2026:12:00:00 +0000] {request}");
            let head = "@timestamp=2026-01-31T12:00:00Z event.dataset=apache.access source.ip=192.0.2.1 user.name=a␣[b␣c";
            if request.is_empty() {
                check(Format::Unknown, &line, "event.dataset=unknown");
            } else {
                check(Format::ApacheCommon, &line, &format!("{head} {expected}"));
            }
        }
    }

    #[test]
    fn error_logs() {
        check(
            Format::ApacheError,
            "[Sat Jan 31 12:00:00.123456 2026] [authz_core:error] [pid 12:tid 139] [client 203.0.113.7:50022] AH01630: client denied \
             by server configuration: /var/www/x, referer: http://example.org/",
            "@timestamp=2026-01-31T12:00:00.123456Z process.pid=12 log.level=err event.dataset=apache.error sealedlog.apache.module=authz_core \
             process.thread.id=139 source.ip=203.0.113.7 source.port=50022 event.code=AH01630 http.request.referrer=http://example.org/",
        );
        check(
            Format::ApacheError,
            "[Sat Jan 31 12:00:00.123456 2026] [core:error] [pid 12] (13)Permission denied: [client 2001:db8::7:50022] AH00132: file",
            "@timestamp=2026-01-31T12:00:00.123456Z process.pid=12 log.level=err event.dataset=apache.error sealedlog.apache.module=core \
             source.ip=2001:db8::7 source.port=50022 event.code=AH00132",
        );
        check(
            Format::ApacheError,
            "[Sat Jan 31 12:00:00.123456 2026] [ssl:info] [pid 12:tid 1] [client 2001:db8::7:443] AH01964: Connection to child 1",
            "@timestamp=2026-01-31T12:00:00.123456Z process.pid=12 log.level=info event.dataset=apache.error sealedlog.apache.module=ssl \
             process.thread.id=1 source.ip=2001:db8::7 source.port=443 event.code=AH01964",
        );
        check(
            Format::ApacheError,
            "[Sat Jan 31 12:00:00 2026] [error] [client 2001:db8::7] File does not exist: /x",
            "@timestamp=2026-01-31T12:00:00Z log.level=err event.dataset=apache.error source.ip=2001:db8::7",
        );
        check(
            Format::ApacheError,
            "[Sat Jan 31 12:00:00 2026] [notice] [brackets] in the message",
            "@timestamp=2026-01-31T12:00:00Z log.level=notice event.dataset=apache.error",
        );
        check(Format::Unknown, "[Sat Jan 31 12:00", "event.dataset=unknown");
        check(Format::Unknown, "[error] x", "event.dataset=unknown");
    }
}
