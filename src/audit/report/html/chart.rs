//! Charts of lines over time, as SVG.
#![forbid(unsafe_code)]

use super::page::Page;
use crate::audit::report::time::Moment;
use crate::audit::report::{LogReport, VolumeReport};

/// Height of the drawing; a step is one wide.
const HEIGHT: f64 = 100.0;

/// The lines of a log over the time of all logs, with the times that have none between its first and its last.
pub fn volume(page: &mut Page, number: u64, log: &LogReport, volume: &VolumeReport) {
    let most = log.counts.iter().copied().max().unwrap_or(0);
    page.raw("<figure><figcaption><b>").text(&log.host).raw("</b> ").text(&log.log).raw(" <span class=\"faint\">");
    page.count(log.lines).raw(" lines, at most ").count(most).raw(" in ").text(step(volume.step)).raw("</span></figcaption>");
    page.raw("<svg role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 ").count(log.counts.len().max(1) as u64);
    page.raw(" 100\" aria-labelledby=\"v").count(number).raw("t v").count(number).raw("d\"><title id=\"v").count(number);
    page.raw("t\">Lines of ").text(&log.log).raw(" on ").text(&log.host).raw(" over time</title><desc id=\"v").count(number);
    page.raw("d\">").count(log.lines).raw(" lines in ").count(log.counts.len() as u64).raw(" steps of ").text(step(volume.step));
    page.raw("; ").count(log.silent.len() as u64).raw(" times without a line between the first and the last.</desc>");
    let from = volume.from.map_or(0, |from| from.0);
    let place = |moment: Moment| (moment.0 - from) as f64 / (volume.step * 1000) as f64;
    for silent in &log.silent {
        page.raw("<rect class=\"silent\" y=\"0\" height=\"100\" x=\"").length(place(silent.from));
        page.raw("\" width=\"").length(place(silent.to) - place(silent.from)).raw("\"/>");
    }
    page.raw("<path class=\"bar\" d=\"");
    for (at, lines) in log.counts.iter().enumerate().filter(|(_, lines)| **lines > 0) {
        // One line among many is still to be seen.
        let height = (HEIGHT * *lines as f64 / most as f64).max(2.0);
        page.raw("M").length(at as f64).raw(" 100v-").length(height).raw("h1v").length(height).raw("z");
    }
    page.raw("\"/></svg><div class=\"axis\"><span>");
    if let Some(from) = volume.from {
        page.text(from.short());
    }
    page.raw("</span><span>");
    if let Some(from) = volume.from {
        let length = volume.step * 1000 * i64::try_from(log.counts.len()).unwrap_or(0);
        page.text(Moment(from.0 + length).short());
    }
    page.raw("</span></div></figure>\n");
}

/// A length of time in words.
pub fn step(seconds: i64) -> String {
    let (number, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}
