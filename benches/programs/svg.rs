//! Plots as plain SVG: curves over logarithmic axes, and bars on one.
//!
//! Promises: no fonts, scripts or files of others; readable on light and on dark ground.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// What is left of the plotted field, above, right of and below it.
const LEFT: f64 = 84.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 110.0;
const BOTTOM: f64 = 58.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#555555"];

/// Curves with their names.
pub type Curves = [(String, Vec<(f64, f64)>)];

/// Positions on a logarithmic axis between two powers of ten, or, on the lower axis, the ends of the data.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - self.from.log10()) / (self.to.log10() - self.from.log10());
        self.start + part * (self.end - self.start)
    }

    /// Powers of ten in it.
    fn decades(&self) -> Vec<f64> {
        let powers = self.from.log10().ceil() as i32..=self.to.log10().floor() as i32;
        powers.map(|power| 10f64.powi(power)).collect()
    }
}

/// Curves over two logarithmic axes; `ticks` are the marks of the lower one.
pub fn curves(title: &str, below: &str, beside: &str, ticks: &[f64], curves: &Curves) -> String {
    let values = || curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (least, most) = values().fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), value| (a.min(value), b.max(value)));
    let power = |value: f64, round: fn(f64) -> f64| 10f64.powf(round(value.log10()));
    let x = Axis {
        from: ticks.first().copied().unwrap_or(1.0),
        to: ticks.last().copied().unwrap_or(10.0),
        start: LEFT,
        end: WIDTH - RIGHT,
    };
    let y = Axis { from: power(least, f64::floor), to: power(most, f64::ceil), start: HEIGHT - BOTTOM, end: TOP };
    let mut svg = head(title, HEIGHT);
    for decade in y.decades() {
        let at = y.at(decade);
        line(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, (LEFT - 8.0, at + 4.0), "end", &short(decade));
    }
    for tick in ticks {
        let at = x.at(*tick);
        line(&mut svg, (at, TOP), (at, HEIGHT - BOTTOM));
        text(&mut svg, (at, HEIGHT - BOTTOM + 18.0), "middle", &short(*tick));
    }
    text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0), "middle", below);
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"20\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 20 {middle})\">{beside}</text>"
    );
    let mut lowest = TOP;
    let mut named: Vec<_> = curves.iter().zip(COLOURS.iter().cycle()).collect();
    let end = |points: &[(f64, f64)]| points.last().map_or(0.0, |point| y.at(point.1));
    named.sort_by(|(one, _), (other, _)| end(&one.1).total_cmp(&end(&other.1)));
    for ((name, points), colour) in named {
        let path: Vec<_> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x.at(*a), y.at(*b))).collect();
        let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>", path.join(" "));
        for (a, b) in points {
            let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x.at(*a), y.at(*b));
        }
        // Names of curves that end close to each other stand below each other.
        lowest = (end(points) + 4.0).max(lowest + 15.0);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{lowest:.1}\" style=\"fill:{colour}\">{name}</text>", WIDTH - RIGHT + 8.0);
    }
    svg + "</svg>\n"
}

/// A bar a name on a logarithmic axis; `ours` are told by their colour.
pub fn bars(title: &str, below: &str, bars: &[(String, f64, bool)]) -> String {
    const ROW: f64 = 24.0;
    const NAMES: f64 = 270.0;
    let height = TOP + ROW * bars.len() as f64 + BOTTOM;
    let (least, most) = bars.iter().fold((f64::MAX, 10.0f64), |(a, b), bar| (a.min(bar.1), b.max(bar.1)));
    let power = |value: f64, round: fn(f64) -> f64| 10f64.powf(round(value.log10()));
    let x = Axis { from: power(least.min(most), f64::floor), to: power(most, f64::ceil), start: NAMES, end: WIDTH - 70.0 };
    let mut svg = head(title, height);
    for decade in x.decades() {
        let at = x.at(decade);
        line(&mut svg, (at, TOP), (at, height - BOTTOM));
        text(&mut svg, (at, height - BOTTOM + 18.0), "middle", &short(decade));
    }
    for (number, (name, value, ours)) in bars.iter().enumerate() {
        let (top, colour) = (TOP + ROW * number as f64, COLOURS[usize::from(!ours) * 5]);
        let width = x.at(*value) - NAMES;
        text(&mut svg, (NAMES - 8.0, top + 16.0), "end", name);
        let _ =
            writeln!(svg, "<rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"/>", top + 4.0);
        text(&mut svg, (NAMES + width + 6.0, top + 16.0), "start", &short(*value));
    }
    text(&mut svg, ((NAMES + WIDTH - 70.0) / 2.0, height - 14.0), "middle", below);
    svg + "</svg>\n"
}

fn head(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <style>text {{ font: 12px sans-serif; fill: #222 }} .grid {{ stroke: #ccc }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{}\" y=\"26\" text-anchor=\"middle\" style=\"font-size:15px\">{title}</text>\n",
        WIDTH / 2.0
    )
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// A number with k and M for thousands and millions.
fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} M", digits(value / 1e6)),
        _ if value >= 1e3 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// Two digits at least, none behind a point that says nothing.
fn digits(value: f64) -> String {
    let text = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
